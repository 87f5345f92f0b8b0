"""Takes the colours out of some of the pictures."""

import numpy as np

from worker.engine.transforms.color_jitter import GREY
from worker.engine.transforms.draws import Draws, Images


class RandomGrayscale:
    """All three channels, where there are three, become the grey of ITU-R BT.601.

    Source: `torchvision.transforms.RandomGrayscale`.
    """

    num_draws = 1

    def __init__(self, p: float = 0.1) -> None:
        """`p`: share of pictures."""
        self._p = p

    def __call__(self, images: Images, draws: Draws) -> Images:
        if images.shape[3] != len(GREY):
            return images  # there is none to be taken out
        chosen = draws[:, 0] < self._p
        changed = images.copy()
        changed[chosen] = np.rint(images[chosen] @ GREY).astype(np.uint8)[..., None]
        return changed
