"""Some samples on a device, as a step takes them."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """Pictures, uint8 (B, H, W, C), and targets: int64 (B,) classes or float32 (B, num_outputs).

    `draws` is what mixing needs of each sample, (B, 4), where pictures are mixed. `weights` are float32 (B,), where
    samples do not all count the same.
    """

    images: Tensor
    targets: Tensor
    draws: Tensor | None = None
    weights: Tensor | None = None

    def parts(self, size: int) -> list["Batch"]:
        """The batch in parts of at most `size`, as equal as they can be: batch norm has no variance of one."""
        num_parts = -(-len(self.targets) // size)
        split = {name: tensor.tensor_split(num_parts) for name, tensor in self._asdict().items() if tensor is not None}
        return [Batch(**dict(zip(split, tensors, strict=True))) for tensors in zip(*split.values(), strict=True)]
