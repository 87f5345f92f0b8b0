"""Cuts a box out of each picture and stretches it to the picture's size."""

import cv2
import numpy as np

from worker.engine.transforms.draws import Draws, Images
from worker.engine.transforms.random_erasing import boxes


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
        cuts = zip(*boxes(draws, self._scale, self._ratio, height, width), strict=True)
        for i, (top, left, tall, wide) in enumerate(cuts):
            cut = images[i, top : top + tall, left : left + wide]
            for first in range(0, channels, 4):  # OpenCV takes up to four channels
                part = np.ascontiguousarray(cut[:, :, first : first + 4])
                whole = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
                resized[i, :, :, first : first + 4] = whole.reshape(height, width, -1)
        return resized
