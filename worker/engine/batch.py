"""A batch of samples on a device."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Images, uint8 (B, H, W, C), and targets: int64 (B,) classes or float32 (B, num_outputs).

    Attributes:
        mix_params: parameters for mixing, (B, 4). None: images are not mixed.
        weights: weights of the samples, float32 (B,). None: every sample has weight 1.
    """

    images: Tensor
    targets: Tensor
    mix_params: Tensor | None = None
    weights: Tensor | None = None

    def split(self, size: int) -> list["Batch"]:
        """Return the batch in parts of at most `size` samples and about equal size: batch norm needs two samples."""
        num_parts = -(-len(self.targets) // size)
        split = {name: tensor.tensor_split(num_parts) for name, tensor in self._asdict().items() if tensor is not None}
        return [Batch(**dict(zip(split, tensors, strict=True))) for tensors in zip(*split.values(), strict=True)]
