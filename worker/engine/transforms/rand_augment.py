"""A policy without a search: a few of many changes for each picture, all of one strength."""

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from worker.engine.transforms.draws import Draws, Images

Picture = np.ndarray[Any, np.dtype[np.uint8]]
"""(H, W, C)"""
Change = Callable[[Picture, float], Picture]
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
        for first in range(0, self.num_draws, 2):
            chosen = np.floor(draws[:, first] * len(CHANGES)).astype(np.intp)
            levels = np.where(draws[:, first + 1] < 0.5, -self._level, self._level)
            for i, (place, level) in enumerate(zip(chosen, levels, strict=True)):
                changed[i] = CHANGES[place](changed[i], float(level))
        return changed


def _towards(other: Picture | float) -> Change:
    """Blend with something fixed; beyond the picture itself for levels above 0."""
    return lambda picture, level: _blend(picture, other, level)


def _blend(picture: Picture, other: Any, level: float) -> Picture:  # noqa: ANN401 - a picture or a number
    factor = 1 + 0.9 * level
    blended = factor * picture.astype(np.float32) + (1 - factor) * np.asarray(other, dtype=np.float32)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _contrast(picture: Picture, level: float) -> Picture:
    return _blend(picture, picture.mean(), level)


def _saturation(picture: Picture, level: float) -> Picture:
    return _blend(picture, picture.mean(axis=2, keepdims=True), level)


def _sharpness(picture: Picture, level: float) -> Picture:
    return _blend(picture, cv2.blur(picture, (3, 3)).reshape(picture.shape), level)


def _posterize(picture: Picture, level: float) -> Picture:
    dropped = round(4 * abs(level))
    return (picture >> dropped << dropped).astype(np.uint8)


def _solarize(picture: Picture, level: float) -> Picture:
    return np.where(picture >= 256 * (1 - abs(level)), 255 - picture, picture).astype(np.uint8)


def _autocontrast(picture: Picture, _level: float) -> Picture:
    low, high = picture.min(axis=(0, 1)).astype(np.float32), picture.max(axis=(0, 1)).astype(np.float32)
    span = np.where(high > low, high - low, 255.0)
    stretched = (picture - np.where(high > low, low, 0.0)) * (255.0 / span)
    return np.clip(np.rint(stretched), 0, 255).astype(np.uint8)


def _equalize(picture: Picture, _level: float) -> Picture:
    channels = [cv2.equalizeHist(np.ascontiguousarray(picture[:, :, i])) for i in range(picture.shape[2])]
    return np.stack(channels, axis=2)


def _warp(picture: Picture, matrix: list[list[float]]) -> Picture:
    """By a map from source to target, about the centre; what comes in is black."""
    height, width, channels = picture.shape
    linear = np.array(matrix)
    centre = np.array([(width - 1) / 2, (height - 1) / 2])
    linear[:, 2] += centre - linear[:, :2] @ centre
    parts = [np.ascontiguousarray(picture[:, :, first : first + 4]) for first in range(0, channels, 4)]
    warped = [cv2.warpAffine(part, linear, (width, height)).reshape(part.shape) for part in parts]
    return np.concatenate(warped, axis=2)


def _rotate(picture: Picture, level: float) -> Picture:
    cos, sin = np.cos(np.deg2rad(30 * level)), np.sin(np.deg2rad(30 * level))
    return _warp(picture, [[cos, sin, 0.0], [-sin, cos, 0.0]])


def _shear_x(picture: Picture, level: float) -> Picture:
    return _warp(picture, [[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]])


def _shear_y(picture: Picture, level: float) -> Picture:
    return _warp(picture, [[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]])


def _translate_x(picture: Picture, level: float) -> Picture:
    return _warp(picture, [[1.0, 0.0, 0.45 * level * picture.shape[1]], [0.0, 1.0, 0.0]])


def _translate_y(picture: Picture, level: float) -> Picture:
    return _warp(picture, [[1.0, 0.0, 0.0], [0.0, 1.0, 0.45 * level * picture.shape[0]]])


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
    _rotate,
    _shear_x,
    _shear_y,
    _translate_x,
    _translate_y,
)
