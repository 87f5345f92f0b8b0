"""A file of the features of samples, mapped into memory."""

import os
from pathlib import Path

import torch
from torch import Tensor

from worker.engine.device import Placement

MAX_RESIDENT_SHARE = 0.25
"""The largest share of a GPU's free memory that the features may use."""


class FeatureTable:
    """Stores one row of features per sample. A batch of rows has the memory format of the batches that were computed.

    The same format matters for exact results: kernels for other formats may add numbers in another order.

    Attributes:
        num_bytes: the size of the file.
    """

    def __init__(self, path: Path, num_rows: int, example: Tensor, placement: Placement) -> None:
        """Create the file, and reserve its space on the disk.

        Args:
            path: the file. It is deleted from its folder at once, and its space is freed with this object.
            num_rows: the number of samples.
            example: the features of a batch, (B, *features).
            placement: the device to which `gather` moves the rows.

        Raises:
            OSError: the disk is full.
        """
        self._shape, self._strides = example.shape[1:], example.stride()
        self._placement = placement
        num_values = num_rows * self._shape.numel()
        self.num_bytes = num_values * example.element_size()
        with path.open("wb") as file:  # otherwise a full disk would end the process when a page is written
            os.posix_fallocate(file.fileno(), 0, max(self.num_bytes, 1))
        values = torch.from_file(str(path), shared=True, size=num_values, dtype=example.dtype)
        path.unlink()
        self._rows = values.view(num_rows, self._shape.numel())

    def write(self, start: int, features: Tensor) -> None:
        """Store the features of samples, (N, *features), in the rows from `start` on."""
        self._rows[start : start + len(features)] = features.reshape(len(features), -1).cpu()

    def move_to_device(self) -> None:
        """Keep the features in the memory of the GPU if there is one and they fit."""
        device = self._placement.device
        if device.type == "cuda" and self.num_bytes < MAX_RESIDENT_SHARE * torch.cuda.mem_get_info(device)[0]:
            self._rows = self._rows.to(device)

    def gather(self, rows: Tensor) -> Tensor:
        """Return the features of the samples in these rows, (B, *features), on the device."""
        gathered = self._rows[rows.to(self._rows.device)].view(len(rows), *self._shape)
        placed = self._placement.place_tensor(gathered) if gathered.is_cpu else gathered
        if placed.stride() == self._strides or self._strides[0] < self._shape.numel():
            return placed
        batch = torch.empty_strided(placed.shape, self._strides, dtype=placed.dtype, device=placed.device)
        return batch.copy_(placed)
