"""What transforms of tensors share: parameters that are sent along, some of the pictures, grey."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.device import send

Mask = NDArray[np.bool_]
GREY = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601


def to_device_of(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """Parameters on the device of the pictures, of the same type; float64 becomes float32."""
    is_double = parameters.dtype == np.float64
    sent = np.ascontiguousarray(parameters, dtype=np.float32 if is_double else None)
    return send(torch.from_numpy(sent), images.device)


def of_each(images: Tensor, parameters: NDArray[Any]) -> Tensor:
    """One number a picture, as (B, 1, 1, 1)."""
    return to_device_of(images, parameters)[:, None, None, None]


def change_some(images: Tensor, chosen: Mask, change: Callable[[Tensor], Tensor]) -> Tensor:
    """The same pictures, but the chosen ones as `change` gives them back.

    The choice is made on the host, so that a GPU never has to be asked how many there are.
    """
    if not chosen.any():
        return images
    if chosen.all():
        return change(images)
    places = to_device_of(images, np.flatnonzero(chosen))
    return images.index_copy(0, places, change(images.index_select(0, places)))


def grey(colours: Tensor) -> Tensor:
    """(..., 3) in RGB to (...), float32, added in a fixed order: matrix products may be of another precision."""
    red, green, blue = (colours[..., i] * float(GREY[i]) for i in range(3))
    return red + green + blue


def to_bytes(values: Tensor) -> Tensor:
    """Rounded as NumPy rounds, and cut to 0..255."""
    return values.round().clamp(0, 255).to(torch.uint8)
