"""Memory that snapshots are copied into, a part at once and the rest beside what the run does next."""

import ctypes
from collections.abc import Collection, Mapping

import torch
from torch import Tensor


class CopyBuffers:
    """Memory that one snapshot after another is copied into; pinned where the run is on a GPU."""

    def __init__(self) -> None:
        self._kept: dict[str, Tensor] = {}
        self._left: dict[str, Tensor] = {}

    def begin(self, tensors: Mapping[str, Tensor], later: Collection[str]) -> dict[str, Tensor]:
        """Where the copies of all of them are, under the same names; the next call overwrites them.

        Those named in `later` are copied by `finish`. A GPU is not waited for.
        """
        self._kept = {name: _room(self._kept.get(name), tensor) for name, tensor in tensors.items()}
        self._left = {name: tensors[name].detach() for name in later}
        for name, tensor in tensors.items():
            if name not in self._left:
                _copy(tensor.detach(), self._kept[name])
        return self._kept

    def finish(self) -> None:
        """Copy what is left, by whatever thread."""
        for name, tensor in self._left.items():
            _copy(tensor, self._kept[name])
        self._left = {}


def _room(kept: Tensor | None, tensor: Tensor) -> Tensor:
    if kept is not None and (kept.shape, kept.dtype) == (tensor.shape, tensor.dtype):
        return kept
    return torch.empty_like(tensor, device="cpu", requires_grad=False, pin_memory=tensor.is_cuda)


def _copy(tensor: Tensor, into: Tensor) -> None:
    if tensor.is_cpu and tensor.stride() == into.stride():  # `into` has no gaps, hence neither has the tensor
        ctypes.memmove(into.data_ptr(), tensor.data_ptr(), tensor.nbytes)  # torch's threads would wait for each other
    else:
        into.copy_(tensor, non_blocking=True)
