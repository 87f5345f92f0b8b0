"""Mirrors some of the pictures."""

from typing import ClassVar

from worker.engine.transforms.draws import Draws, Images


class _Flip:
    num_draws = 1
    axis: ClassVar[int]

    def __init__(self, p: float = 0.5) -> None:
        """`p`: share of pictures that are mirrored."""
        self._p = p

    def __call__(self, images: Images, draws: Draws) -> Images:
        chosen = draws[:, 0] < self._p
        flipped = images.copy()
        source = images[:, ::-1] if self.axis == 1 else images[:, :, ::-1]
        flipped[chosen] = source[chosen]
        return flipped


class HorizontalFlip(_Flip):
    """Left and right."""

    axis = 2


class VerticalFlip(_Flip):
    """Top and bottom."""

    axis = 1
