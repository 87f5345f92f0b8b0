"""Changes brightness, contrast, saturation and hue of images with one linear map of the colors per image."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import LUMA, expand_per_image, to_grayscale, to_same_device, to_uint8
from worker.engine.transforms.rng import Images, RandomParams

TO_YIQ = np.array([LUMA, [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]], dtype=np.float32)
FROM_YIQ = np.linalg.inv(TO_YIQ)


class JitterParams(NamedTuple):
    """Parameters of each image. The result is colors * `maps` * `scale` + mean gray * `pull`.

    Attributes:
        scale: factor of the colors, (B,).
        pull: factor of the image's mean gray, (B,).
        maps: matrices from RGB to RGB, (B, 3, 3). None: saturation and hue do not change.
    """

    scale: RandomParams
    pull: RandomParams
    maps: RandomParams | None


class ColorJitter:
    """Changes, in this order: brightness, contrast (about the mean gray), saturation, hue.

    Hue rotates colors about the gray axis of YIQ; torchvision uses HSV. A gray image has neither saturation nor hue.
    """

    num_random_params = 4

    def __init__(
        self, brightness: float = 0.0, contrast: float = 0.0, saturation: float = 0.0, hue: float = 0.0
    ) -> None:
        """For brightness, contrast and saturation x, the factor is uniform in [1 - x, 1 + x].

        `hue`: the largest rotation in either direction, as a fraction of a full turn, at most 0.5.
        """
        self._spreads = np.array([brightness, contrast, saturation, hue], dtype=np.float32)

    def __call__(self, images: Images, random_params: RandomParams) -> Images:
        is_color = images.shape[3] == len(LUMA)
        scale, pull, maps = self._build_params(random_params, is_color=is_color)
        colors = images.astype(np.float32)
        mean = (colors @ LUMA if is_color else colors.mean(axis=3)).mean(axis=(1, 2))
        if maps is not None:
            colors = np.einsum("bhwc,bdc->bhwd", colors, maps)
        changed = colors * scale[:, None, None, None] + (pull * mean)[:, None, None, None]
        bytes_again: Images = np.clip(np.rint(changed), 0, 255).astype(np.uint8)
        return bytes_again

    def apply_on_device(self, images: Tensor, random_params: RandomParams) -> Tensor:
        _, height, width, channels = images.shape
        is_color = channels == len(LUMA)
        scale, pull, maps = self._build_params(random_params, is_color=is_color)
        sums = images.sum(dim=(1, 2), dtype=torch.int64)  # integers: rounding of float sums depends on the batch size
        mean = (to_grayscale(sums) if is_color else sums.sum(dim=1) / channels) / (height * width)
        colors = images.to(torch.float32)
        if maps is not None:
            into = to_same_device(images, maps)[:, None, None]  # (B, 1, 1, 3, 3)
            red, green, blue = (colors[..., i : i + 1] * into[..., i] for i in range(3))
            colors = red + green + blue
        return to_uint8(
            colors * expand_per_image(images, scale) + expand_per_image(images, pull) * mean[:, None, None, None]
        )

    def _build_params(self, random_params: RandomParams, *, is_color: bool) -> JitterParams:
        spread = self._spreads * (2 * random_params - 1)
        brightness, contrast = 1 + spread[:, 0], 1 + spread[:, 1]
        changes_colours = is_color and self._spreads[2:].any()
        maps = _build_color_maps(1 + spread[:, 2], 2 * np.pi * spread[:, 3]) if changes_colours else None
        return JitterParams(brightness * contrast, (1 - contrast) * brightness, maps)


def _build_color_maps(saturation: RandomParams, angle: RandomParams) -> RandomParams:
    """Return one matrix per image, (B, 3, 3), from RGB to RGB. Gray stays gray."""
    chroma = np.zeros((len(saturation), 3, 3), dtype=np.float32)
    cos, sin = saturation * np.cos(angle), saturation * np.sin(angle)
    chroma[:, 0, 0] = 1
    chroma[:, 1, 1] = chroma[:, 2, 2] = cos
    chroma[:, 1, 2], chroma[:, 2, 1] = -sin, sin
    return (FROM_YIQ @ chroma @ TO_YIQ).astype(np.float32)
