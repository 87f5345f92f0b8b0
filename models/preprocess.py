"""Modules that convert samples to network inputs, in training and in serving."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Preprocess(nn.Module):
    """Normalizes each channel of uint8 images: (x / 255 - mean) / std."""

    scale: Tensor
    shift: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Initialize from the mean and standard deviation of each channel, for pixels in 0..1.

        A constant channel, with a standard deviation of 0, is centered but not scaled.

        Raises:
            ValueError: the lengths differ, or a standard deviation is negative.
        """
        super().__init__()
        if len(mean) != len(std) or min(std, default=0.0) < 0:
            raise ValueError(
                f"mean {list(mean)} and std {list(std)} must have the same length, and std must not be negative"
            )
        means = torch.tensor(mean, dtype=torch.float64, device="cpu")
        stds = torch.tensor([value or 1.0 for value in std], dtype=torch.float64, device="cpu")
        self.register_buffer("scale", (1 / (255 * stds)).float().view(1, -1, 1, 1), persistent=False)
        self.register_buffer("shift", (-means / stds).float().view(1, -1, 1, 1), persistent=False)

    def forward(self, images_bhwc: Tensor) -> Tensor:
        """Return network inputs.

        Args:
            images_bhwc: uint8, (B, H, W, C), values 0..255.

        Returns:
            Network inputs, float32 (B, C, H, W) in channels_last memory, with about zero mean and unit variance.

        Raises:
            ValueError: the images are not uint8, or have the wrong number of channels.
        """
        if images_bhwc.dtype != torch.uint8 or images_bhwc.ndim != 4 or images_bhwc.shape[3] != self.scale.shape[1]:
            expected = f"uint8 (B, H, W, {self.scale.shape[1]})"
            raise ValueError(f"expected {expected}, got {images_bhwc.dtype} {tuple(images_bhwc.shape)}")
        images = images_bhwc.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.channels_last)
        return images.mul_(self.scale).add_(self.shift)


class Standardize(nn.Module):
    """Standardizes each column of a table or a series, and replaces missing values by the mean.

    Categorical columns contain codes from 1; code 0 is a missing or unknown category. The codes are either returned
    unchanged or encoded one-hot. The one-hot vector of code 0 contains only zeros.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float], std: Sequence[float], cardinalities: Sequence[int] = (), *, spreads: bool = False
    ) -> None:
        """Initialize from the mean and standard deviation of each column.

        Args:
            mean: mean of each column; 0 for categorical columns.
            std: standard deviation of each column; 1 for categorical columns.
            cardinalities: number of categories of each column; 0 for numeric columns.
            spreads: whether to encode categories one-hot. Default: False; codes are returned unchanged.

        Raises:
            ValueError: the lengths differ, or a standard deviation is not positive.
        """
        super().__init__()
        if len(mean) != len(std) or len(cardinalities) not in {0, len(mean)}:
            lengths = f"{len(mean)}, {len(std)} and {len(cardinalities)}"
            raise ValueError(f"mean, std and cardinalities must have the same length, got {lengths}")
        if min(std, default=1.0) <= 0:
            raise ValueError(f"std must be positive, got {list(std)}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32, device="cpu"), persistent=False)
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32, device="cpu"), persistent=False)
        self._cardinalities = tuple(cardinalities) if spreads and any(cardinalities) else ()

    def forward(self, samples: Tensor) -> Tensor:
        """Return network inputs.

        Args:
            samples: float32 rows (B, F) or windows (B, T, F). Missing numbers are NaN.

        Returns:
            Network inputs, float32 (B, F) or (B, T, F); with one-hot encoding, (B, numeric columns + categories).

        Raises:
            ValueError: the samples are not float32, or have the wrong number of columns.
        """
        if samples.dtype != torch.float32 or samples.shape[-1] != len(self.mean):
            expected = f"float32 (…, {len(self.mean)})"
            raise ValueError(f"expected {expected}, got {samples.dtype} {tuple(samples.shape)}")
        values = ((samples - self.mean) / self.std).nan_to_num(nan=0.0)
        if not self._cardinalities:
            return values
        return torch.cat([_encode_one_hot(values[:, i], count) for i, count in enumerate(self._cardinalities)], dim=1)


def _encode_one_hot(column: Tensor, cardinality: int) -> Tensor:
    """Map a column (B,) to (B, 1) if it is numeric, else to one-hot vectors (B, cardinality)."""
    if not cardinality:
        return column[:, None]
    return (column[:, None] == torch.arange(1, cardinality + 1, device=column.device)).to(column.dtype)


class RescaledOutput(nn.Module):
    """Wraps a network that was trained on standardized targets, and returns outputs in the original units."""

    target_mean: Tensor
    target_std: Tensor

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        """Initialize from the network, and the mean and standard deviation of each target."""
        super().__init__()
        self.network = network
        self.register_buffer("target_mean", torch.tensor(mean, dtype=torch.float32, device="cpu"), persistent=False)
        self.register_buffer("target_std", torch.tensor(std, dtype=torch.float32, device="cpu"), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's outputs in the original units, float32 (B, num_outputs)."""
        scaled: Tensor = self.network(inputs).float() * self.target_std + self.target_mean
        return scaled
