"""Changes the perspective of randomly selected images."""

import cv2
import numpy as np
from torch import Tensor

from worker.engine.transforms.affine import FLAGS
from worker.engine.transforms.functional import Mask, apply_where
from worker.engine.transforms.rng import Images, RandomParams
from worker.engine.transforms.warp import Interpolation, Maps, warp_images


class RandomPerspective:
    """Moves each corner inward by up to `distortion` * half the side length. Pixels from outside the image are black.

    Source: `torchvision.transforms.RandomPerspective`.
    """

    num_random_params = 9

    def __init__(self, distortion: float = 0.5, p: float = 0.5, interpolation: Interpolation = "bilinear") -> None:
        """`distortion`: 0 to 1. `p`: probability of changing an image."""
        self._distortion, self._p, self._interpolation = distortion, p, interpolation
        self._flags = FLAGS[interpolation]
        cv2.setNumThreads(1)

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        _, height, width, channels = images.shape
        warped, mask = images.copy(), self._select_images(random_params)
        for i, matrix in zip(
            np.flatnonzero(mask), self._build_matrices(random_params[mask], height, width), strict=True
        ):
            for first in range(0, channels, 4):  # OpenCV supports up to four channels
                part = np.ascontiguousarray(images[i, :, :, first : first + 4])
                out = cv2.warpPerspective(part, matrix, (width, height), flags=self._flags)
                warped[i, :, :, first : first + 4] = out.reshape(part.shape)
        return warped

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, _ = images.shape
        mask = self._select_images(random_params)
        matrices = self._build_matrices(random_params[mask], height, width)
        return apply_where(images, mask, lambda some: warp_images(some, matrices, self._interpolation))

    def _select_images(self, random_params: RandomParams) -> Mask:
        return random_params[:, 0] < self._p

    def _build_matrices(self, random_params: RandomParams, height: int, width: int) -> Maps:
        """Return maps from source to target pixels, (B, 3, 3)."""
        right, bottom = width - 1, height - 1
        corners = np.array([[0, 0], [right, 0], [right, bottom], [0, bottom]], np.float32)
        inwards = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]], np.float32)
        furthest = self._distortion * np.array([width, height], np.float32) / 2
        moved = corners + inwards * furthest * random_params[:, 1:].reshape(-1, 4, 2).astype(np.float32)
        return np.array([cv2.getPerspectiveTransform(corners, to) for to in moved], np.float64).reshape(-1, 3, 3)
