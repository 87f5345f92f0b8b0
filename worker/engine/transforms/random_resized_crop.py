"""Crops a box of each image and resizes it to the image's size."""

import cv2
import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import to_same_device
from worker.engine.transforms.random_erasing import Boxes, choose_boxes
from worker.engine.transforms.rng import Images, RandomParams
from worker.engine.transforms.warp import sample_images


class RandomResizedCrop:
    """Crops a random box of each image and resizes it to the original size.

    Source: Szegedy et al., "Going Deeper with Convolutions", 2014, section 6.
    """

    num_random_params = 4

    def __init__(self, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        """`scale`: range of the crop's area as a fraction of the image's area. `ratio`: range of its height / width."""
        self._scale = scale
        self._ratio = ratio
        cv2.setNumThreads(1)

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        _, height, width, channels = images.shape
        resized = np.empty_like(images)
        cuts = zip(*self._choose_boxes(random_params, height, width), strict=True)
        for i, (top, left, crop_height, crop_width) in enumerate(cuts):
            cut = images[i, top : top + crop_height, left : left + crop_width]
            for first in range(0, channels, 4):  # OpenCV supports up to four channels
                part = np.ascontiguousarray(cut[:, :, first : first + 4])
                whole = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
                resized[i, :, :, first : first + 4] = whole.reshape(height, width, -1)
        return resized

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, _ = images.shape
        sides = to_same_device(images, np.stack(self._choose_boxes(random_params, height, width)))
        tops, lefts, heights, widths = sides[:, :, None].to(torch.float32)
        y, x = _build_sample_grid(tops, heights, height), _build_sample_grid(lefts, widths, width)
        return sample_images(images, x[:, None, :], y[:, :, None])

    def _choose_boxes(self, random_params: RandomParams, height: int, width: int) -> Boxes:
        return choose_boxes(random_params, self._scale, self._ratio, height, width)


def _build_sample_grid(starts: Tensor, sizes: Tensor, length: int) -> Tensor:
    """Return the positions to sample along one side of each crop, (B, length) in -1..1, all inside the crop."""
    centers = torch.arange(length, device=starts.device) + 0.5
    pixels = starts + (centers * (sizes / length) - 0.5).clamp(min=0).minimum(sizes - 1)
    return (2 * pixels + 1) / length - 1
