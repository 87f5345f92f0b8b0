"""Shifts images by whole pixels: pads every side, then crops at a random position."""

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.engine.transforms.functional import to_same_device
from worker.engine.transforms.rng import Images, RandomParams


class RandomCrop:
    """Pads every side by `padding` pixels, then crops to the original size at a random position.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 (padding 4).
    """

    num_random_params = 2

    def __init__(self, padding: int = 4, mode: Literal["constant", "reflect"] = "constant") -> None:
        """`constant` pads with black; `reflect` mirrors the image."""
        self._padding = padding
        self._mode = mode

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        _, height, width, _ = images.shape
        pad = self._padding
        pad_width = ((0, 0), (pad, pad), (pad, pad), (0, 0))
        padded = np.pad(images, pad_width) if self._mode == "constant" else np.pad(images, pad_width, mode="reflect")
        tops, lefts = self._choose_corners(random_params)
        cropped = np.empty_like(images)
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            cropped[i] = padded[i, top : top + height, left : left + width]
        return cropped

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        count, height, width, _ = images.shape
        tops, lefts = to_same_device(images, self._choose_corners(random_params))
        rows, columns = self._index_lines(images, tops, height), self._index_lines(images, lefts, width)
        image_index = torch.arange(count, device=images.device)[:, None, None]
        cropped = images[image_index, rows[:, :, None], columns[:, None, :]]
        if self._mode == "constant":
            is_outside = (rows < 0)[:, :, None] | (columns < 0)[:, None, :]
            cropped = cropped.masked_fill(is_outside[..., None], 0)
        return cropped

    def _choose_corners(self, random_params: RandomParams) -> NDArray[np.intp]:
        """Return the top and the left edge of each crop in the padded image, (2, B)."""
        return np.floor(random_params * (2 * self._padding + 1)).astype(np.intp).T

    def _index_lines(self, images: Tensor, starts: Tensor, length: int) -> Tensor:
        """Return the rows or columns of the image that each crop shows, (B, length). The index -1 means black."""
        lines = np.arange(length)
        padded = (
            np.pad(lines, self._padding, constant_values=-1)
            if self._mode == "constant"
            else np.pad(lines, self._padding, mode="reflect")
        )
        return to_same_device(images, padded)[starts[:, None] + torch.arange(length, device=images.device)]
