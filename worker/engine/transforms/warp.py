"""Warps batches of images on a device, each image with a separate map. Draws no random numbers."""

from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from worker.engine.transforms.functional import to_same_device

Interpolation = Literal["nearest", "bilinear"]
Maps = np.ndarray[Any, np.dtype[np.float64]]
FAR = 3.0  # a coordinate outside the image (-1..1), even with interpolation


def warp_images(images: Tensor, maps: Maps, interpolation: Interpolation = "bilinear") -> Tensor:
    """Warp images by maps from source to target pixels, (B, 2, 3) or (B, 3, 3), like OpenCV.

    Pixel centers have integer coordinates. The x axis points right, the y axis down.
    Pixels from outside the image are black.
    """
    _, height, width, _ = images.shape
    pixels_to_grid = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    back = to_same_device(images, pixels_to_grid @ _invert_maps(maps))[..., None, None]
    x = torch.arange(width, device=images.device, dtype=torch.float32)
    y = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
    # not a matrix product, for which a GPU may round the factors to ten bits (TF32)
    across, down, depth = (back[:, row, 0] * x + (back[:, row, 1] * y + back[:, row, 2]) for row in range(3))
    return sample_images(images, across / depth, down / depth, interpolation)


def sample_images(images: Tensor, x: Tensor, y: Tensor, interpolation: Interpolation = "bilinear") -> Tensor:
    """Sample images, uint8 (B, H, W, C), at positions that broadcast to (B, H, W).

    Positions are -1 to 1 from edge to edge of the image. Pixels at positions outside are black.
    """
    grid = torch.stack(torch.broadcast_tensors(x, y), dim=-1)  # type: ignore[no-untyped-call]
    grid = grid.nan_to_num_(FAR).clamp_(-FAR, FAR)  # a perspective map has points at infinity
    floats = images.permute(0, 3, 1, 2).to(torch.float32)
    samples = nn.functional.grid_sample(floats, grid, interpolation, "zeros", align_corners=False)
    return samples.round_().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _invert_maps(maps: Maps) -> Maps:
    """Return the inverse maps up to a factor, (B, 3, 3). Cross products are used, because maps may be singular."""
    bottom = np.broadcast_to([0.0, 0.0, 1.0], (len(maps), 1, 3))
    first, second, third = np.concatenate([maps, bottom], axis=1)[:, :3].transpose(1, 0, 2)
    columns = [np.cross(second, third), np.cross(third, first), np.cross(first, second)]
    return np.stack(columns, axis=2)
