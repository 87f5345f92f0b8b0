"""From a picture to the numbers a network was trained on: training and serving share it, so they cannot differ."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Preprocess(nn.Module):
    """Scale bytes to 0..1, then normalise each channel: (x / 255 - mean) / std."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take one mean and one deviation a channel, of pixels in 0..1.

        A channel that never varies has a deviation of 0; it is only centred.

        Raises:
            ValueError: the lengths differ, or a deviation is negative.
        """
        super().__init__()
        if len(mean) != len(std) or min(std, default=0.0) < 0:
            raise ValueError(f"{list(mean)} and {list(std)} are no means and deviations of the same channels")
        means = torch.tensor(mean, dtype=torch.float64, device="cpu")
        stds = torch.tensor([value or 1.0 for value in std], dtype=torch.float64, device="cpu")
        self.register_buffer("scale", (1 / (255 * stds)).float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-means / stds).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, images_bhwc: Tensor) -> Tensor:
        """Return what a network takes.

        Args:
            images_bhwc: uint8, (B, H, W, C), values 0..255.

        Returns:
            float32, (B, C, H, W) in channels_last memory, about zero mean and unit variance.

        Raises:
            ValueError: the pictures are not bytes, or have another number of channels.
        """
        if images_bhwc.dtype != torch.uint8 or images_bhwc.ndim != 4 or images_bhwc.shape[3] != self.scale.shape[1]:
            wanted = f"uint8 (B, H, W, {self.scale.shape[1]})"
            raise ValueError(f"got {images_bhwc.dtype} {tuple(images_bhwc.shape)}, but {wanted} is wanted")
        images = images_bhwc.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        return images.mul_(self.scale).add_(self.shift)
