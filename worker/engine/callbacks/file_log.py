"""A file that grows with the run and goes on where a resumed one began, as a loggers' common part."""

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from worker.engine.callback import Callback, Leave
from worker.engine.state import RunState

MAX_BYTES = 64 * 2**20  # it is a part of every snapshot


class TooLong(ValueError):
    """The file has grown beyond what a snapshot should carry."""


class FileLog(Callback):
    """Hands its file over at most every `every_s` seconds, when the run is left, and at its end, whichever that is.

    What was written so far is in the snapshot: a resumed run leaves the file of one that never stopped.
    """

    is_optional: ClassVar[bool] = True
    name: ClassVar[str]
    media_type: ClassVar[str]

    def __init__(self, leave: Leave, *, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._leave, self._every_s, self._clock = leave, every_s, clock
        self._content = bytearray()
        self._handed_over_s = -math.inf
        self._num_handed_over = 0

    def write(self, content: bytes) -> None:
        """Add to the file.

        Raises:
            TooLong: there is no more room for it.
        """
        if len(self._content) + len(content) > MAX_BYTES:
            raise TooLong(f"{self.name} has {len(self._content) / 2**20:.0f} MiB, and no more is kept")
        self._content += content

    def on_epoch_end(self, state: RunState) -> None:
        if self._clock() - self._handed_over_s >= self._every_s:
            self._hand_over()

    def on_fit_end(self, state: RunState) -> None:
        self._hand_over()

    def on_exception(self, state: RunState) -> None:
        self._hand_over()

    def _hand_over(self) -> None:
        if len(self._content) > self._num_handed_over:
            self._leave(self.name, self.media_type, bytes(self._content))
        self._handed_over_s, self._num_handed_over = self._clock(), len(self._content)

    def state_dict(self) -> dict[str, Any]:
        return {"content": torch.from_numpy(np.frombuffer(bytes(self._content), np.uint8).copy())}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self._content = bytearray(saved["content"].cpu().numpy().tobytes())
