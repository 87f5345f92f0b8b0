"""Mirrors randomly selected images."""

from typing import ClassVar

import torch
from torch import Tensor

from worker.engine.transforms.functional import Mask, expand_per_image
from worker.engine.transforms.rng import Images, RandomParams


class _Flip:
    num_random_params = 1
    axis: ClassVar[int]

    def __init__(self, p: float = 0.5) -> None:
        """`p`: probability of mirroring an image."""
        self._p = p

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        mask = self._select_images(random_params)
        flipped = images.copy()
        source = images[:, ::-1] if self.axis == 1 else images[:, :, ::-1]
        flipped[mask] = source[mask]
        return flipped

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        return torch.where(expand_per_image(images, self._select_images(random_params)), images.flip(self.axis), images)

    def _select_images(self, random_params: RandomParams) -> Mask:
        return random_params[:, 0] < self._p


class HorizontalFlip(_Flip):
    """Swaps left and right."""

    axis = 2


class VerticalFlip(_Flip):
    """Swaps top and bottom."""

    axis = 1
