"""Copies to a GPU that run beside what it computes: from pinned memory, on a stream of their own."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import Placement

CHUNK_BYTES = 64 * 2**20


class DevicePrefetcher:
    """Starts copies; it belongs to one reading thread, whose current device it leaves alone."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, tensors: Sequence[Tensor]) -> "PendingCopy":
        """Copies of the tensors, on their way."""
        with torch.cuda.stream(self._stream):
            copies = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            return PendingCopy(copies, self._stream.record_event(), self._device)


class PendingCopy:
    """Tensors on their way to a GPU; nothing may be computed with them before `arrive`."""

    def __init__(self, tensors: list[Tensor], copied: torch.cuda.Event, device: torch.device) -> None:
        self.tensors = tensors
        self._copied, self._device = copied, device

    def wait(self) -> None:
        """Let what this thread computes from now on wait for them; the thread itself does not."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(self._copied)
        for tensor in self.tensors:
            tensor.record_stream(current)  # else the copying stream would use their memory again too early


def copy_in_chunks(array: NDArray[Any], placement: Placement) -> Tensor:
    """An array on the device, copied piece by piece: pinned memory is needed for one piece, not for all of it."""
    first = torch.from_numpy(np.array(array[:1]))
    placed = torch.empty(array.shape, dtype=first.dtype, device=placement.device)
    step = max(1, CHUNK_BYTES // max(1, first.nbytes))
    for start in range(0, len(array), step):
        chunk = torch.from_numpy(np.array(array[start : start + step]))
        placed[start : start + step] = placement.place_tensor(chunk)
    return placed
