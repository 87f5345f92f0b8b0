"""Mirrors some of the pictures."""

from typing import ClassVar

import torch
from torch import Tensor

from worker.engine.transforms.functional import Mask, of_each
from worker.engine.transforms.rng import Draws, Images


class _Flip:
    num_draws = 1
    axis: ClassVar[int]

    def __init__(self, p: float = 0.5) -> None:
        """`p`: share of pictures that are mirrored."""
        self._p = p

    def __call__(self, images: Images, draws: Draws) -> Images:
        chosen = self._chosen(draws)
        flipped = images.copy()
        source = images[:, ::-1] if self.axis == 1 else images[:, :, ::-1]
        flipped[chosen] = source[chosen]
        return flipped

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        return torch.where(of_each(images, self._chosen(draws)), images.flip(self.axis), images)

    def _chosen(self, draws: Draws) -> Mask:
        return draws[:, 0] < self._p


class HorizontalFlip(_Flip):
    """Left and right."""

    axis = 2


class VerticalFlip(_Flip):
    """Top and bottom."""

    axis = 1
