"""Blackens a box in randomly selected images."""

import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import to_same_device
from worker.engine.transforms.rng import Images, RandomParams

Boxes = tuple[np.ndarray[tuple[int], np.dtype[np.intp]], ...]
"""Tops, lefts, heights and widths, in pixels, (B,) each."""


class RandomErasing:
    """Blackens a random box in each image with probability `p`.

    Source: Zhong et al., "Random Erasing Data Augmentation", 2017.
    """

    num_random_params = 5

    def __init__(
        self, p: float = 0.5, scale: tuple[float, float] = (0.02, 0.33), ratio: tuple[float, float] = (0.3, 3.3)
    ) -> None:
        """`p`: probability of erasing a box of an image. `ratio`: range of the box's height / width.

        `scale`: range of the box's area as a fraction of the image's area.
        """
        self._p = p
        self._scale = scale
        self._ratio = ratio

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        _, height, width, _ = images.shape
        erased = images.copy()
        tops, lefts, heights, widths = self._choose_boxes(random_params, height, width)
        for i in np.flatnonzero(heights):
            erased[i, tops[i] : tops[i] + heights[i], lefts[i] : lefts[i] + widths[i]] = 0
        return erased

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, _ = images.shape
        sides = to_same_device(images, np.stack(self._choose_boxes(random_params, height, width)))
        tops, lefts, heights, widths = sides[:, :, None]
        y, x = (torch.arange(side, device=images.device) for side in (height, width))
        is_tall, is_wide = (tops <= y) & (y < tops + heights), (lefts <= x) & (x < lefts + widths)
        return images.masked_fill((is_tall[:, :, None] & is_wide[:, None, :])[..., None], 0)

    def _choose_boxes(self, random_params: RandomParams, height: int, width: int) -> Boxes:
        """Return one box per image. Images that are not selected have a box of height 0."""
        tops, lefts, heights, widths = choose_boxes(random_params[:, 1:], self._scale, self._ratio, height, width)
        return tops, lefts, np.where(random_params[:, 0] < self._p, heights, 0), widths


def choose_boxes(
    random_params: RandomParams, scale: tuple[float, float], ratio: tuple[float, float], height: int, width: int
) -> Boxes:
    """Return one box per image, computed from four random numbers per image.

    The area and the logarithm of the aspect ratio are uniformly distributed. Sides longer than the image are clipped.
    """
    area = (scale[0] + (scale[1] - scale[0]) * random_params[:, 0]) * height * width
    shape = np.exp(np.log(ratio[0]) + (np.log(ratio[1]) - np.log(ratio[0])) * random_params[:, 1])
    heights = np.clip(np.rint(np.sqrt(area * shape)), 1, height)
    widths = np.clip(np.rint(np.sqrt(area / shape)), 1, width)
    tops = np.floor(random_params[:, 2] * (height - heights + 1))
    lefts = np.floor(random_params[:, 3] * (width - widths + 1))
    return tuple(side.astype(np.intp) for side in (tops, lefts, heights, widths))
