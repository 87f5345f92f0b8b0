"""Removes the color of randomly selected images."""

import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import LUMA, Mask, expand_per_image, to_grayscale, to_uint8
from worker.engine.transforms.rng import Images, RandomParams


class RandomGrayscale:
    """Sets the three channels of randomly selected RGB images to the gray of ITU-R BT.601.

    Source: `torchvision.transforms.RandomGrayscale`.
    """

    num_random_params = 1

    def __init__(self, p: float = 0.1) -> None:
        """`p`: probability of removing the color of an image."""
        self._p = p

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        if images.shape[3] != len(LUMA):
            return images  # the images have no color
        mask = self._select_images(random_params)
        changed = images.copy()
        changed[mask] = np.rint(images[mask] @ LUMA).astype(np.uint8)[..., None]
        return changed

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        if images.shape[3] != len(LUMA):
            return images
        gray = to_uint8(to_grayscale(images.to(torch.float32)))[..., None]
        return torch.where(expand_per_image(images, self._select_images(random_params)), gray, images)

    def _select_images(self, random_params: RandomParams) -> Mask:
        return random_params[:, 0] < self._p
