"""Copies and writes snapshots beside the training: a step waits for the copy before it, and for no disk."""

import queue
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from worker.engine import snapshot
from worker.engine.snapshot_buffers import CopyBuffers

Examine = Callable[[Mapping[str, Tensor]], None]
"""Raises where weights must not be stored."""


class SnapshotWriter:
    """One snapshot is written at a time, in the order of `put`; a second one may wait, copied already.

    Source: Mohan et al., "CheckFreq: Frequent, Fine-Grained DNN Checkpointing", 2021 (copies beside the next pass).
    """

    def __init__(self) -> None:
        self._spare: queue.LifoQueue[CopyBuffers] = queue.LifoQueue()  # the same ones again while one is enough
        for _ in range(2):
            self._spare.put(CopyBuffers())
        self._copying = ThreadPoolExecutor(1, "snapshots-copied")  # kept: the run waits until a thread has started
        self._writing = ThreadPoolExecutor(1, "snapshots-written")
        self._copied: Future[None] | None = None
        self._written: Future[None] | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        return self._written is not None and not self._written.done()

    def submit(
        self,
        folder: Path,
        network: nn.Module,
        parts: Mapping[str, snapshot.Stateful],
        words: Mapping[str, Any],
        then: Callable[[snapshot.Facts], None],
        examine: Examine = lambda weights: None,
    ) -> None:
        """Have the run as it is copied, examined and written into `folder`; `then` is called by the writing thread.

        No step may be made before `wait_for_copy`. Waits for the one before last where that is not written yet.

        Raises:
            BaseException: whatever went wrong with an earlier one.
        """
        self.check()
        buffers = self._spare.get()
        try:
            frozen = snapshot.capture(network, parts, words, buffers)
        except BaseException:
            self._spare.put(buffers)
            raise
        self._copied = self._copying.submit(buffers.finish)
        work = (self._copied, folder, frozen, buffers, examine, then)
        self._written = self._writing.submit(self._write, *work)

    def _write(
        self,
        copied: Future[None],
        folder: Path,
        frozen: snapshot.SnapshotCapture,
        buffers: CopyBuffers,
        examine: Examine,
        then: Callable[[snapshot.Facts], None],
    ) -> None:
        try:
            copied.result()
            if self._error is None:
                snapshot.wait_for_gpu(frozen)
                examine(frozen.weights)
                then(snapshot.write_frozen(folder, frozen))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that trains
            self._error = error
        finally:
            self._spare.put(buffers)

    def wait_for_copy(self) -> None:
        """Wait until the run may change again."""
        if self._copied is not None:
            self._copied.exception()

    def check(self) -> None:
        """Raise, once, what went wrong in the writing thread."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def drain(self) -> None:
        """Wait until nothing is left to be written, whatever came of it."""
        if self._written is not None:
            self._written.result()

    def wait(self) -> None:
        """The same, and raise what went wrong."""
        self.drain()
        self.check()
