"""Functions that several transforms use on devices: copy parameters, select images, convert to gray, round."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import send_to_device

Mask = NDArray[np.bool_]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # weights of red, green and blue in the gray of ITU-R BT.601


def to_same_device(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """Copy parameters to the images' device. float64 becomes float32; other types do not change."""
    is_double = parameters.dtype == np.float64
    sent = np.ascontiguousarray(parameters, dtype=np.float32 if is_double else None)
    return send_to_device(torch.from_numpy(sent), images.device)


def expand_per_image(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """Copy the parameters, one per image, to the images' device as a tensor (B, 1, 1, 1)."""
    return to_same_device(images, parameters)[:, None, None, None]


def apply_where(images: Tensor, mask: Mask, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Return the images, with `change` applied to the images that the mask selects.

    The mask is on the host, so that the host does not have to wait for a GPU.
    """
    if not mask.any():
        return images
    if mask.all():
        return change(images)
    indices = to_same_device(images, np.flatnonzero(mask))
    return images.index_copy(0, indices, change(images.index_select(0, indices)))


def to_grayscale(colors: Tensor) -> Tensor:
    """Convert RGB (..., 3) to gray (...), float32.

    The channels are added one by one, because a matrix product can have a lower precision.
    """
    red, green, blue = (colors[..., i] * float(LUMA[i]) for i in range(3))
    return red + green + blue


def to_uint8(values: Tensor) -> Tensor:
    """Round half to even, as NumPy does, and clamp to 0..255."""
    return values.round().clamp(0, 255).to(torch.uint8)
