"""RandAugment: applies a few random operations to each image, all with the same strength."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import Mask, apply_where, expand_per_image
from worker.engine.transforms.rand_augment_tensors import TENSOR_OPS, TensorOp
from worker.engine.transforms.rng import Images, RandomParams
from worker.engine.transforms.warp import Maps, warp_images

Image = np.ndarray[Any, np.dtype[np.uint8]]
"""An image, (H, W, C)."""
ImageOp = Callable[[Image, float], Image]
"""Arguments: an image and a level in -1..1."""
MAX_MAGNITUDE = 10


class RandAugment:
    """Applies random operations to each image.

    Source: Cubuk et al., "RandAugment", 2019. The ranges of the operations are those of torchvision.
    """

    def __init__(self, num_ops: int = 2, magnitude: float = 5.0) -> None:
        """`num_ops`: operations per image. `magnitude`: their strength, 0 to 10."""
        self.num_random_params = 2 * num_ops
        self._level = magnitude / MAX_MAGNITUDE
        cv2.setNumThreads(1)

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        changed = images.copy()
        for op_indices, levels in self._iter_ops(random_params):
            for i, (op_index, level) in enumerate(zip(op_indices, levels, strict=True)):
                changed[i] = IMAGE_OPS[op_index](changed[i], float(level))
        return changed

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, _ = images.shape
        for op_indices, levels in self._iter_ops(random_params):
            for op_index, op in enumerate(TENSOR_OPS):
                images = _apply_op_on_device(images, op_indices == op_index, levels, op)
            is_affine = op_indices >= FIRST_AFFINE_OP
            moves = zip(op_indices[is_affine] - FIRST_AFFINE_OP, levels[is_affine], strict=True)
            maps = np.array([_build_map(move, level, height, width) for move, level in moves])
            images = apply_where(images, is_affine, partial(warp_images, maps=maps))
        return images

    def _iter_ops(self, random_params: RandomParams) -> Iterator[tuple[NDArray[np.intp], NDArray[np.float64]]]:
        """Yield `num_ops` pairs: the operation index and the level of each image, (B,) each."""
        for first in range(0, self.num_random_params, 2):
            op_indices = np.floor(random_params[:, first] * len(IMAGE_OPS)).astype(np.intp)
            yield op_indices, np.where(random_params[:, first + 1] < 0.5, -self._level, self._level)


def _apply_op_on_device(images: Tensor, mask: Mask, levels: NDArray[np.float64], op: TensorOp) -> Tensor:
    return apply_where(images, mask, lambda some: op(some, expand_per_image(some, levels[mask])))


def _build_blend(other: Image | float) -> ImageOp:
    """Return an operation that blends images with a constant. Levels above 0 move images away from the constant."""
    return lambda image, level: _blend(image, other, level)


def _blend(image: Image, other: Any, level: float) -> Image:  # noqa: ANN401 - an image or a number
    factor = 1 + 0.9 * level
    blended = factor * image.astype(np.float32) + (1 - factor) * np.asarray(other, dtype=np.float32)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _adjust_contrast(image: Image, level: float) -> Image:
    return _blend(image, image.mean(), level)


def _adjust_saturation(image: Image, level: float) -> Image:
    return _blend(image, image.mean(axis=2, keepdims=True), level)


def _adjust_sharpness(image: Image, level: float) -> Image:
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


def _build_rotation(level: float, _height: int, _width: int) -> Maps:
    cos, sin = np.cos(np.deg2rad(30 * level)), np.sin(np.deg2rad(30 * level))
    return np.array([[cos, sin, 0.0], [-sin, cos, 0.0]])


def _build_shear_x(level: float, _height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.3 * level, 0.0], [0.0, 1.0, 0.0]])


def _build_shear_y(level: float, _height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.0], [0.3 * level, 1.0, 0.0]])


def _build_translation_x(level: float, _height: int, width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.45 * level * width], [0.0, 1.0, 0.0]])


def _build_translation_y(level: float, height: int, _width: int) -> Maps:
    return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.45 * level * height]])


AFFINE_OPS: tuple[Callable[[float, int, int], Maps], ...] = (
    _build_rotation,
    _build_shear_x,
    _build_shear_y,
    _build_translation_x,
    _build_translation_y,
)
"""Functions of (level, height, width) that return a map from source to target, (2, 3), relative to the center."""


def _build_map(op_index: int, level: float, height: int, width: int) -> Maps:
    """Return the affine matrix (2, 3) that maps source to target pixel coordinates."""
    linear = AFFINE_OPS[op_index](level, height, width)
    center = np.array([(width - 1) / 2, (height - 1) / 2])
    linear[:, 2] += center - linear[:, :2] @ center
    return linear


def _warp_image(op_index: int, image: Image, level: float) -> Image:
    """Apply an affine operation. Pixels from outside the image are black."""
    height, width, channels = image.shape
    linear = _build_map(op_index, level, height, width)
    parts = [np.ascontiguousarray(image[:, :, first : first + 4]) for first in range(0, channels, 4)]
    warped = [cv2.warpAffine(part, linear, (width, height)).reshape(part.shape) for part in parts]
    return np.concatenate(warped, axis=2)


IMAGE_OPS: tuple[ImageOp, ...] = (
    lambda image, _level: image,
    _build_blend(0.0),  # brightness
    _adjust_contrast,
    _adjust_saturation,
    _adjust_sharpness,
    _posterize,
    _solarize,
    _autocontrast,
    _equalize,
    *(partial(_warp_image, move) for move in range(len(AFFINE_OPS))),
)
FIRST_AFFINE_OP = len(IMAGE_OPS) - len(AFFINE_OPS)
