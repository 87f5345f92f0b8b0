"""Copies tensors from pinned memory to a GPU on a separate CUDA stream, so that the GPU can compute during the copy."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import Placement

CHUNK_BYTES = 64 * 2**20


class DevicePrefetcher:
    """Starts asynchronous copies to a GPU. Use one instance per thread; the thread's current device does not change."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def start(self, tensors: Sequence[Tensor]) -> "PendingCopy":
        """Start copying the tensors to the GPU."""
        with torch.cuda.stream(self._stream):
            copies = [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]
            return PendingCopy(copies, self._stream.record_event(), self._device)


class PendingCopy:
    """Tensors that are being copied to a GPU. Call `wait` before computing with them."""

    def __init__(self, tensors: list[Tensor], copied: torch.cuda.Event, device: torch.device) -> None:
        self.tensors = tensors
        self._copied, self._device = copied, device

    def wait(self) -> None:
        """Make later GPU computations of this thread wait for the copies. The thread itself is not blocked."""
        current = torch.cuda.current_stream(self._device)
        current.wait_event(self._copied)
        for tensor in self.tensors:
            tensor.record_stream(current)  # otherwise the allocator reuses the memory for later copies too early


def copy_in_chunks(array: NDArray[Any], placement: Placement) -> Tensor:
    """Copy an array to the device in chunks. Only one chunk at a time needs pinned memory."""
    first = torch.from_numpy(np.array(array[:1]))
    placed = torch.empty(array.shape, dtype=first.dtype, device=placement.device)
    step = max(1, CHUNK_BYTES // max(1, first.nbytes))
    for start in range(0, len(array), step):
        chunk = torch.from_numpy(np.array(array[start : start + step]))
        placed[start : start + step] = placement.place_tensor(chunk)
    return placed
