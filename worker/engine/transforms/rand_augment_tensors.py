"""The color operations of RandAugment on tensors. Each call processes all images with the same operation."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import to_same_device, to_uint8

TensorOp = Callable[[Tensor, Tensor], Tensor]
"""Arguments: images, uint8 (B, H, W, C), and levels in -1..1, float32 (B, 1, 1, 1)."""
BYTES = 256


def _blend(images: Tensor, other: Tensor | float, levels: Tensor) -> Tensor:
    factors = 1 + 0.9 * levels
    return to_uint8(factors * images.to(torch.float32) + (1 - factors) * other)


def _adjust_contrast(images: Tensor, levels: Tensor) -> Tensor:
    # sum as integers, because the rounding of float sums depends on the batch size
    sums = images.sum(dim=(1, 2, 3), keepdim=True, dtype=torch.int64)
    return _blend(images, sums / images[0].numel(), levels)


def _adjust_saturation(images: Tensor, levels: Tensor) -> Tensor:
    return _blend(images, images.sum(dim=3, keepdim=True, dtype=torch.int64) / images.shape[3], levels)


def _adjust_sharpness(images: Tensor, levels: Tensor) -> Tensor:
    """Blend each pixel with the rounded mean of its 3 x 3 neighborhood. The border is mirrored."""
    _, height, width, _ = images.shape
    rows, columns = (to_same_device(images, np.pad(np.arange(side), 1, mode="reflect")) for side in (height, width))
    padded = images.to(torch.float32).index_select(1, rows).index_select(2, columns)
    row_sums = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    sums = row_sums[:, :, :-2] + row_sums[:, :, 1:-1] + row_sums[:, :, 2:]
    return _blend(images, (sums / 9).round(), levels)


def _posterize(images: Tensor, levels: Tensor) -> Tensor:
    dropped = (4 * levels.abs()).round().to(torch.uint8)
    return images >> dropped << dropped


def _solarize(images: Tensor, levels: Tensor) -> Tensor:
    return torch.where(images >= BYTES * (1 - levels.abs()), 255 - images, images)


def _autocontrast(images: Tensor, _levels: Tensor) -> Tensor:
    low, high = (images.amin((1, 2), keepdim=True).float(), images.amax((1, 2), keepdim=True).float())
    is_flat = high == low
    span = torch.where(is_flat, 255.0, high - low)
    return to_uint8((images - low.masked_fill(is_flat, 0.0)) * (255.0 / span))


def _equalize(images: Tensor, _levels: Tensor) -> Tensor:
    """Equalize each channel's histogram as OpenCV does: the darkest value becomes 0. Flat channels do not change."""
    count, height, width, channels = images.shape
    values = images.permute(0, 3, 1, 2).reshape(count * channels, height * width).to(torch.int64)
    counts = torch.zeros(len(values), BYTES, dtype=torch.int64, device=images.device)
    counts.scatter_add_(1, values, torch.ones_like(values))
    darkest = counts.gather(1, values.amin(1, keepdim=True))
    scale = 255 / (height * width - darkest).to(torch.float32)
    levelled = to_uint8((counts.cumsum(1) - darkest) * scale).to(torch.int64)
    equal = torch.where(darkest == height * width, values, levelled.gather(1, values))
    return equal.to(torch.uint8).reshape(count, channels, height, width).permute(0, 2, 3, 1).contiguous()


TENSOR_OPS: tuple[TensorOp, ...] = (
    lambda images, _levels: images,
    lambda images, levels: _blend(images, 0.0, levels),  # brightness
    _adjust_contrast,
    _adjust_saturation,
    _adjust_sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
)
