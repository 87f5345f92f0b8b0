"""The base class of callbacks that write a log file. A resumed run continues the file."""

import math
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from worker.engine.callback import Callback, SaveArtifact
from worker.engine.state import RunState

MAX_BYTES = 64 * 2**20  # the maximum size of the file, limited because every snapshot contains the file


class LogTooLong(ValueError):
    """The log file has reached the limit `MAX_BYTES`."""


class FileLog(Callback):
    """Saves its file at the end of an epoch, at most once every `every_s` seconds, and when the run ends or fails.

    An interrupted run also saves the file. Snapshots contain the file's content, so that a resumed run saves the same
    file as an uninterrupted run.
    """

    is_optional: ClassVar[bool] = True
    name: ClassVar[str]
    media_type: ClassVar[str]

    def __init__(
        self, save_artifact: SaveArtifact, *, every_s: float = 30.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._save_artifact, self._every_s, self._clock = save_artifact, every_s, clock
        self._content = bytearray()
        self._saved_at = -math.inf
        self._num_saved_bytes = 0

    def write(self, content: bytes) -> None:
        """Append `content` to the file.

        Raises:
            LogTooLong: the file and `content` together are larger than `MAX_BYTES`.
        """
        if len(self._content) + len(content) > MAX_BYTES:
            raise LogTooLong(f"{self.name} has reached the limit of {MAX_BYTES} bytes")
        self._content += content

    def on_epoch_end(self, state: RunState) -> None:
        if self._clock() - self._saved_at >= self._every_s:
            self._save_content()

    def on_fit_end(self, state: RunState) -> None:
        self._save_content()

    def on_exception(self, state: RunState) -> None:
        self._save_content()

    def _save_content(self) -> None:
        if len(self._content) > self._num_saved_bytes:
            self._save_artifact(self.name, self.media_type, bytes(self._content))
        self._saved_at, self._num_saved_bytes = self._clock(), len(self._content)

    def state_dict(self) -> dict[str, Any]:
        return {"content": torch.from_numpy(np.frombuffer(bytes(self._content), np.uint8).copy())}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._content = bytearray(state_dict["content"].cpu().numpy().tobytes())
