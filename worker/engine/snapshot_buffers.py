"""Copies the tensors of a snapshot into reusable memory: some immediately, the others while the run continues."""

import ctypes
from collections.abc import Collection, Mapping

import torch
from torch import Tensor


class CopyBuffers:
    """Memory for copies of a snapshot's tensors, reused for later snapshots. Copies from a GPU use pinned memory."""

    def __init__(self) -> None:
        self._buffers: dict[str, Tensor] = {}
        self._remaining: dict[str, Tensor] = {}

    def start_copy(self, tensors: Mapping[str, Tensor], later: Collection[str]) -> dict[str, Tensor]:
        """Copy tensors, and return the copies under the same names. The next call overwrites the copies.

        Tensors whose names are in `later` are copied by `finish_copy`. Copies from a GPU are asynchronous.
        """
        self._buffers = {name: _allocate_buffer(self._buffers.get(name), tensor) for name, tensor in tensors.items()}
        self._remaining = {name: tensors[name].detach() for name in later}
        for name, tensor in tensors.items():
            if name not in self._remaining:
                _copy_tensor(tensor.detach(), self._buffers[name])
        return self._buffers

    def finish_copy(self) -> None:
        """Copy the remaining tensors. Any thread may call this."""
        for name, tensor in self._remaining.items():
            _copy_tensor(tensor, self._buffers[name])
        self._remaining = {}


def _allocate_buffer(buffer: Tensor | None, tensor: Tensor) -> Tensor:
    if buffer is not None and (buffer.shape, buffer.dtype) == (tensor.shape, tensor.dtype):
        return buffer
    return torch.empty_like(tensor, device="cpu", requires_grad=False, pin_memory=tensor.is_cuda)


def _copy_tensor(tensor: Tensor, into: Tensor) -> None:
    if tensor.is_cpu and tensor.stride() == into.stride():  # equal strides: both tensors are dense
        # memmove is faster than torch's copy, which synchronizes its threads
        ctypes.memmove(into.data_ptr(), tensor.data_ptr(), tensor.nbytes)
    else:
        into.copy_(tensor, non_blocking=True)
