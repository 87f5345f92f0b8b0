"""Copies and writes snapshots in the background. Training waits for the copy in memory, but not for the disk."""

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from worker.engine import snapshot
from worker.engine.snapshot_buffers import CopyBuffers

CheckWeights = Callable[[Mapping[str, Tensor]], None]
"""Raises an error if the weights must not be stored."""


class SnapshotWriter:
    """Writes one snapshot at a time, in the order of the `submit` calls. A second snapshot can wait in memory.

    Source: Mohan et al., "CheckFreq: Frequent, Fine-Grained DNN Checkpointing", 2021 (copies during the next pass).
    """

    def __init__(self) -> None:
        # last in, first out, so that the second set is used only if the first one is busy
        self._free_buffers: queue.LifoQueue[CopyBuffers] = queue.LifoQueue()
        for _ in range(2):
            self._free_buffers.put(CopyBuffers())
        self._copy_executor = ThreadPoolExecutor(1, "snapshot-copy")  # reused, because starting a thread takes time
        self._write_executor = ThreadPoolExecutor(1, "snapshot-write")
        self._copied: Future[None] | None = None
        self._written: Future[None] | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        """Whether a snapshot is being written."""
        return self._written is not None and not self._written.done()

    def submit(
        self,
        folder: Path,
        network: nn.Module,
        parts: Mapping[str, snapshot.Stateful],
        metadata: Mapping[str, Any],
        on_written: Callable[[snapshot.FileDigests], None],
        check_weights: CheckWeights = lambda weights: None,
    ) -> None:
        """Start to copy, check and write the run's state to `folder`. Then, the writing thread calls `on_written`.

        Call `wait_for_copy` before the next training step. This method blocks while two snapshots are pending.

        Raises:
            BaseException: the error that occurred while an earlier snapshot was written.
        """
        self.raise_error()
        buffers = self._free_buffers.get()
        try:
            capture = snapshot.capture_snapshot(network, parts, metadata, buffers)
        except BaseException:
            self._free_buffers.put(buffers)
            raise
        self._copied = self._copy_executor.submit(buffers.finish_copy)
        work = (self._copied, folder, capture, buffers, check_weights, on_written)
        self._written = self._write_executor.submit(self._write, *work)

    def _write(
        self,
        copied: Future[None],
        folder: Path,
        capture: snapshot.SnapshotCapture,
        buffers: CopyBuffers,
        check_weights: CheckWeights,
        on_written: Callable[[snapshot.FileDigests], None],
    ) -> None:
        try:
            copied.result()
            if self._error is None:
                snapshot.wait_for_gpu(capture)
                check_weights(capture.weights)
                on_written(snapshot.write_capture(folder, capture))
        except BaseException as error:  # noqa: BLE001 - re-raised in the training thread
            self._error = error
        finally:
            self._free_buffers.put(buffers)

    def wait_for_copy(self) -> None:
        """Wait until the copy is complete, so that the run may change its tensors."""
        if self._copied is not None:
            self._copied.exception()

    def raise_error(self) -> None:
        """Raise the error of the writing thread, if any, and clear it."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def drain(self) -> None:
        """Wait until no snapshot is pending. Errors are not raised."""
        if self._written is not None:
            self._written.result()

    def wait(self) -> None:
        """Wait until no snapshot is pending, then raise the error of the writing thread, if any."""
        self.drain()
        self.raise_error()
