"""Blackens a square of fixed size in every image."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import to_same_device
from worker.engine.transforms.rng import Images, RandomParams


class Cutout:
    """Blackens a square whose center is a random pixel. Parts of the square can be outside of the image.

    Source: DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", 2017.
    """

    num_random_params = 2

    def __init__(self, size: int = 8) -> None:
        """`size`: side length of the square in pixels."""
        self._size = size

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        masked = images.copy()
        tops, lefts = self._choose_corners(random_params, *images.shape[1:3])
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            masked[i, max(top, 0) : top + self._size, max(left, 0) : left + self._size] = 0
        return masked

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, _ = images.shape
        tops, lefts = to_same_device(images, self._choose_corners(random_params, height, width))[:, :, None]
        y, x = (torch.arange(side, device=images.device) for side in (height, width))
        is_tall, is_wide = (tops <= y) & (y < tops + self._size), (lefts <= x) & (x < lefts + self._size)
        return images.masked_fill((is_tall[:, :, None] & is_wide[:, None, :])[..., None], 0)

    def _choose_corners(self, random_params: RandomParams, height: int, width: int) -> NDArray[np.intp]:
        """Return the top and the left edge of each square, (2, B). They can be negative, but the end is at least 1."""
        centers = np.floor(random_params * np.array([height, width], np.float32)).astype(np.intp)
        return (centers - self._size // 2).T
