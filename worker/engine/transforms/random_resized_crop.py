"""Cuts a box out of each picture and stretches it to the picture's size."""

import cv2
import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import to_device_of
from worker.engine.transforms.random_erasing import Boxes, boxes
from worker.engine.transforms.rng import Draws, Images
from worker.engine.transforms.warp import sample


class RandomResizedCrop:
    """Source: Szegedy et al., "Going Deeper with Convolutions", 2014, section 6."""

    num_draws = 4

    def __init__(self, scale: tuple[float, float] = (0.08, 1.0), ratio: tuple[float, float] = (3 / 4, 4 / 3)) -> None:
        """`scale`: share of the area, from, to; `ratio`: of height to width, from, to."""
        self._scale = scale
        self._ratio = ratio
        cv2.setNumThreads(1)

    def __call__(self, images: Images, draws: Draws) -> Images:
        _, height, width, channels = images.shape
        resized = np.empty_like(images)
        cuts = zip(*self._boxes(draws, height, width), strict=True)
        for i, (top, left, tall, wide) in enumerate(cuts):
            cut = images[i, top : top + tall, left : left + wide]
            for first in range(0, channels, 4):  # OpenCV takes up to four channels
                part = np.ascontiguousarray(cut[:, :, first : first + 4])
                whole = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
                resized[i, :, :, first : first + 4] = whole.reshape(height, width, -1)
        return resized

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        _, height, width, _ = images.shape
        sides = to_device_of(images, np.stack(self._boxes(draws, height, width)))
        tops, lefts, talls, wides = sides[:, :, None].to(torch.float32)
        y, x = _stretched(tops, talls, height), _stretched(lefts, wides, width)
        return sample(images, x[:, None, :], y[:, :, None])

    def _boxes(self, draws: Draws, height: int, width: int) -> Boxes:
        return boxes(draws, self._scale, self._ratio, height, width)


def _stretched(begins: Tensor, sizes: Tensor, length: int) -> Tensor:
    """Where in -1..1 the centres of so many pixels lie that share a cut's side, (B, length); never beside the cut."""
    centres = torch.arange(length, device=begins.device) + 0.5
    pixels = begins + (centres * (sizes / length) - 0.5).clamp(min=0).minimum(sizes - 1)
    return (2 * pixels + 1) / length - 1
