"""Shifts pictures by whole pixels: padded on every side, cropped back at a random place."""

from typing import Literal

import numpy as np

from worker.engine.transforms.draws import Draws, Images


class RandomCrop:
    """Source: He et al., "Deep Residual Learning for Image Recognition", 2015, section 4.2 (padding 4)."""

    num_draws = 2

    def __init__(self, padding: int = 4, mode: Literal["constant", "reflect"] = "constant") -> None:
        """`constant` pads with black; `reflect` mirrors, as far as the picture is wide."""
        self._padding = padding
        self._mode = mode

    def __call__(self, images: Images, draws: Draws) -> Images:
        _, height, width, _ = images.shape
        pad = self._padding
        around = ((0, 0), (pad, pad), (pad, pad), (0, 0))
        padded = np.pad(images, around) if self._mode == "constant" else np.pad(images, around, mode="reflect")
        tops, lefts = np.floor(draws * (2 * pad + 1)).astype(np.intp).T
        cropped = np.empty_like(images)
        for i, (top, left) in enumerate(zip(tops, lefts, strict=True)):
            cropped[i] = padded[i, top : top + height, left : left + width]
        return cropped
