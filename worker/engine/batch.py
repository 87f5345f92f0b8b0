"""A batch of samples on a device."""

from typing import NamedTuple

from torch import Tensor


class Batch(NamedTuple):
    """The samples and targets of a batch, with optional sample weights and parameters for mixing.

    Attributes:
        images: uint8 images (B, H, W, C), float32 rows (B, F) or float32 windows (B, T, F).
        targets: int64 classes (B,), or float32 (B, num_outputs).
        mix_params: random parameters for mixing images, (B, 4); see `draw_mix_params`. None: images are not mixed.
        weights: weights of the samples, float32 (B,). None: every sample has weight 1.
    """

    images: Tensor
    targets: Tensor
    mix_params: Tensor | None = None
    weights: Tensor | None = None

    def split(self, size: int) -> list["Batch"]:
        """Split the batch into parts of about equal size, with at most `size` samples each.

        The sizes differ by at most one sample. Otherwise the last part could have a single sample, but batch norm needs
        at least two.
        """
        num_parts = -(-len(self.targets) // size)
        split = {name: tensor.tensor_split(num_parts) for name, tensor in self._asdict().items() if tensor is not None}
        return [Batch(**dict(zip(split, tensors, strict=True))) for tensors in zip(*split.values(), strict=True)]
