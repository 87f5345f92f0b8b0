"""A policy without a search: a few of many changes for each picture, all of one strength."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import Mask, change_some, of_each
from worker.engine.transforms.rand_augment_tensors import TENSOR_CHANGES, TensorChange
from worker.engine.transforms.rng import Draws, Images
from worker.engine.transforms.warp import Maps, warp

Image = np.ndarray[Any, np.dtype[np.uint8]]
"""(H, W, C)"""
Change = Callable[[Image, float], Image]
"""By a level in -1..1."""
MAX_MAGNITUDE = 10


class RandAugment:
    """Source: Cubuk et al., "RandAugment", 2019; the ranges are those of torchvision's."""

    def __init__(self, num_ops: int = 2, magnitude: float = 5.0) -> None:
        """`num_ops`: changes a picture; `magnitude`: their strength, 0 to 10."""
        self.num_draws = 2 * num_ops
        self._level = magnitude / MAX_MAGNITUDE
        cv2.setNumThreads(1)

    def __call__(self, images: Images, draws: Draws) -> Images:
        changed = images.copy()
        for chosen, levels in self._turns(draws):
            for i, (place, level) in enumerate(zip(chosen, levels, strict=True)):
                changed[i] = CHANGES[place](changed[i], float(level))
        return changed

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        _, height, width, _ = images.shape
        for chosen, levels in self._turns(draws):
            for place, change in enumerate(TENSOR_CHANGES):
                images = _change_on_device(images, chosen == place, levels, change)
            is_moved = chosen >= FIRST_MOVE
            moves = zip(chosen[is_moved] - FIRST_MOVE, levels[is_moved], strict=True)
            maps = np.array([_map(move, level, height, width) for move, level in moves])
            images = change_some(images, is_moved, partial(warp, maps=maps))
        return images

    def _turns(self, draws: Draws) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Change after change: which of all, and its level, for each picture."""
        for first in range(0, self.num_draws, 2):
            chosen = np.floor(draws[:, first] * len(CHANGES)).astype(np.intp)
            yield chosen, np.where(draws[:, first + 1] < 0.5, -self._level, self._level)


def _change_on_device(images: Tensor, chosen: Mask, levels: NDArray[np.float64], change: TensorChange) -> Tensor:
    return change_some(images, chosen, lambda some: change(some, of_each(some, levels[chosen])))


def _towards(other: Image | float) -> Change:
    """Blend with something fixed; beyond the picture itself for levels above 0."""
    return lambda picture, level: _blend(picture, other, level)


def _blend(image: Image, other: Any, level: float) -> Image:  # noqa: ANN401 - a picture or a number
    factor = 1 + 0.9 * level
    blended = factor * image.astype(np.float32) + (1 - factor) * np.asarray(other, dtype=np.float32)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _contrast(image: Image, level: float) -> Image:
    return _blend(image, image.mean(), level)


def _saturation(image: Image, level: float) -> Image:
    return _blend(image, image.mean(axis=2, keepdims=True), level)


def _sharpness(image: Image, level: float) -> Image:
    return _blend(image, cv2.blur(image, (3, 3)).reshape(image.shape), level)


def _posterize(image: Image, level: float) -> Image:
    dropped = round(4 * abs(level))
    return (image >> dropped << dropped).astype(np.uint8)


def _solarize(image: Image, level: float) -> Image:
    return np.where(image >= 256 * (1 - abs(level)), 255 - image, image).astype(np.uint8)


def _autocontrast(image: Image, _level: float) -> Image:
    low, high = image.min(axis=(0, 1)).astype(np.float32), image.max(axis=(0, 1)).astype(np.float32)
    span = np.where(high > low, high - low, 255.0)
    stretched = (image - np.where(high > low, low, 0.0)) * (255.0 / span)
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def _equalize(image: Image, _level: float) -> Image:
    channels = [cv2.equalizeHist(np.ascontiguousarray(image[:, :, i])) for i in range(image.shape[2])]
    return np.stack(channels, axis=2)


def _rotate(level: float, _height: int, _width: int) -> Maps:
    cos, sin = np.cos(np.deg2rad(30 * level)), np.sin(np.deg2rad(30 * level))
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])


def _shear_x(level: float, _height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]])


def _shear_y(level: float, _height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]])


def _translate_x(level: float, _height: int, width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.45 * level * width], [0.0, 1.0, 0.0]])


def _translate_y(level: float, height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.45 * level * height]])


TRANSITIONS: tuple[Callable[[float, int, int], Maps], ...] = (_rotate, _shear_x, _shear_y, _translate_x, _translate_y)
"""Maps from source to target about the centre, (2, 3), by level, height and width."""


def _map(move: int, level: float, height: int, width: int) -> Maps:
    """From source to target pixels."""
    linear = TRANSITIONS[move](level, height, width)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear[:, 2] += centre - linear[:, :2] @ centre
    return linear


def _moved(move: int, image: Image, level: float) -> Image:
    """What comes in is black."""
    height, width, channels = image.shape
    linear = _map(move, level, height, width)
    parts = [np.ascontiguousarray(image[:, :, first : first + 4]) for first in range(0, channels, 4)]
    warped = [cv2.warpAffine(part, linear, (width, height)).reshape(part.shape) for part in parts]
    return np.concatenate(warped, axis=2)


CHANGES: tuple[Change, ...] = (
    lambda picture, _level: picture,
    _towards(0.0),  # brightness
    _contrast,
    _saturation,
    _sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
    *(partial(_moved, move) for move in range(len(TRANSITIONS))),
)
FIRST_MOVE = len(CHANGES) - len(TRANSITIONS)
