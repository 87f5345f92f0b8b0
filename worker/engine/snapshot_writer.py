"""Writes snapshots beside the training: the run waits until they are copied, not until they are on the disk."""

import queue
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from worker.engine import snapshot


class SnapshotWriter:
    """One snapshot is written at a time, in the order of `put`; a second one may wait, copied already."""

    def __init__(self) -> None:
        self._spare: queue.LifoQueue[snapshot.Buffers] = queue.LifoQueue()  # the same ones again while one is enough
        for _ in range(2):
            self._spare.put(snapshot.Buffers())
        self._last: threading.Thread | None = None
        self._error: BaseException | None = None

    @property
    def is_busy(self) -> bool:
        return self._last is not None and self._last.is_alive()

    def put(
        self,
        folder: Path,
        network: nn.Module,
        parts: Mapping[str, snapshot.Stateful],
        words: Mapping[str, Any],
        then: Callable[[snapshot.Facts], None],
    ) -> None:
        """Copy the run as it is, and have it written into `folder`; `then` is called by the writing thread.

        Waits for the one before last where that is not written yet.

        Raises:
            BaseException: whatever went wrong with an earlier one.
        """
        self.check()
        buffers = self._spare.get()
        try:
            frozen = snapshot.freeze(network, parts, words, buffers)
        except BaseException:
            self._spare.put(buffers)
            raise
        work = (self._last, folder, frozen, buffers, then)
        self._last = threading.Thread(target=self._write, args=work, name="snapshots", daemon=True)
        self._last.start()

    def _write(
        self,
        before: threading.Thread | None,
        folder: Path,
        frozen: snapshot.Frozen,
        buffers: snapshot.Buffers,
        then: Callable[[snapshot.Facts], None],
    ) -> None:
        if before is not None:
            before.join()
        try:
            if self._error is None:
                then(snapshot.write_frozen(folder, frozen))
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that trains
            self._error = error
        finally:
            self._spare.put(buffers)

    def check(self) -> None:
        """Raise, once, what went wrong in the writing thread."""
        error, self._error = self._error, None
        if error is not None:
            raise error

    def settle(self) -> None:
        """Wait until nothing is left to be written, whatever came of it."""
        if self._last is not None:
            self._last.join()

    def wait(self) -> None:
        """The same, and raise what went wrong."""
        self.settle()
        self.check()
