"""From a sample to the numbers a network was trained on: training and serving share it, so they cannot differ."""

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


class Standardize(nn.Module):
    """Bring each column of a table or a series to zero mean and unit variance; what is missing becomes the mean.

    Categories come by their numbers, from 1, with 0 for one that is missing or unknown. They stay as they are, or
    become a value each, 0 or 1, all of which are 0 for an unknown one.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], cardinalities: Sequence[int] = (), *, spreads: bool = False
    ) -> None:
        """Take one mean and deviation a column, 0 and 1 where it holds categories; `spreads` gives these values each.

        Raises:
            ValueError: the lengths differ, or a deviation is not positive.
        """
        super().__init__()
        if len(mean) != len(std) or min(std, default=1.0) <= 0 or len(cardinalities) not in {0, len(mean)}:
            raise ValueError(f"{list(mean)}, {list(std)} and {list(cardinalities)} are not of the same columns")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32, device="cpu"), persistent=False)
        self._cardinalities = tuple(cardinalities) if spreads and any(cardinalities) else ()

    def forward(self, samples: Tensor) -> Tensor:
        """Return what a network takes.

        Args:
            samples: float32, (B, F) rows or (B, T, F) windows, NaN where a number is missing.

        Returns:
            float32, (B, F) or (B, T, F); with categories spread, (B, one for each number and each category).

        Raises:
            ValueError: the samples are no float32, or have another number of columns.
        """
        if samples.dtype != torch.float32 or samples.shape[-1] != len(self.mean):
            wanted = f"float32 (…, {len(self.mean)})"
            raise ValueError(f"got {samples.dtype} {tuple(samples.shape)}, but {wanted} is wanted")
        values = ((samples - self.mean) / self.std).nan_to_num(nan=0.0)
        if not self._cardinalities:
            return values
        return torch.cat([_spread(values[:, i], count) for i, count in enumerate(self._cardinalities)], dim=1)


def _spread(column: Tensor, cardinality: int) -> Tensor:
    """(B,) -> (B, 1) for numbers, (B, cardinality) of 0 and 1 for categories."""
    if not cardinality:
        return column[:, None]
    return (column[:, None] == torch.arange(1, cardinality + 1, device=column.device)).to(column.dtype)


class RescaledOutput(nn.Module):
    """A network trained on targets of zero mean and unit variance, that gives values as they were measured."""

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """Take one mean and one deviation an output."""
        super().__init__()
        self.network = network
        self.register_buffer("target_mean", torch.tensor(mean, dtype=torch.float32, device="cpu"), persistent=False)
        self.register_buffer("target_std", torch.tensor(std, dtype=torch.float32, device="cpu"), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Map (B, ...) to float32 (B, num_outputs)."""
        scaled: Tensor = self.network(inputs).float() * self.target_std + self.target_mean
        return scaled
