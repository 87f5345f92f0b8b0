"""Looks at some of the pictures from aside."""

from typing import Literal

import cv2
import numpy as np

from worker.engine.transforms.affine import FLAGS
from worker.engine.transforms.draws import Draws, Images


class RandomPerspective:
    """Moves each corner inwards, each way by up to `distortion` of half the side; what comes in is black.

    Source: `torchvision.transforms.RandomPerspective`.
    """

    num_draws = 9

    def __init__(
        self, distortion: float = 0.5, p: float = 0.5, interpolation: Literal["nearest", "bilinear"] = "bilinear"
    ) -> None:
        """`distortion`: 0 to 1; `p`: share of pictures."""
        self._distortion, self._p, self._flags = distortion, p, FLAGS[interpolation]
        cv2.setNumThreads(1)

    def __call__(self, images: Images, draws: Draws) -> Images:
        _, height, width, channels = images.shape
        warped = images.copy()
        right, bottom = width - 1, height - 1
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        furthest = self._distortion * np.array([width, height], np.float32) / 2
        for i in np.flatnonzero(draws[:, 0] < self._p):
            moved = corners + inwards * furthest * draws[i, 1:].reshape(4, 2).astype(np.float32)
            matrix = cv2.getPerspectiveTransform(corners, moved)
            for first in range(0, channels, 4):  # OpenCV takes up to four channels
                part = np.ascontiguousarray(images[i, :, :, first : first + 4])
                out = cv2.warpPerspective(part, matrix, (width, height), flags=self._flags)
                warped[i, :, :, first : first + 4] = out.reshape(part.shape)
        return warped
