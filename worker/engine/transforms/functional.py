"""What transforms of tensors share: parameters that are sent along, some of the pictures, grey."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import send_to_device

Mask = NDArray[np.bool_]
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def to_same_device(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """Parameters on the device of the pictures, of the same type; float64 becomes float32."""
    is_double = parameters.dtype == np.float64
    sent = np.ascontiguousarray(parameters, dtype=np.float32 if is_double else None)
    return send_to_device(torch.from_numpy(sent), images.device)


def expand_per_image(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """One number a picture, as (B, 1, 1, 1)."""
    return to_same_device(images, parameters)[:, None, None, None]


def apply_where(images: Tensor, mask: Mask, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The same pictures, but the chosen ones as `change` gives them back.

    The choice is made on the host, so that a GPU never has to be asked how many there are.
    """
    if not mask.any():
        return images
    if mask.all():
        return change(images)
    indices = to_same_device(images, np.flatnonzero(mask))
    return images.index_copy(0, indices, change(images.index_select(0, indices)))


def to_grayscale(colours: Tensor) -> Tensor:
    """(..., 3) in RGB to (...), float32, added in a fixed order: matrix products may be of another precision."""
    red, green, blue = (colours[..., i] * float(LUMA[i]) for i in range(3))
    return red + green + blue


def to_uint8(values: Tensor) -> Tensor:
    """Rounded as NumPy rounds, and cut to 0..255."""
    return values.round().clamp(0, 255).to(torch.uint8)
