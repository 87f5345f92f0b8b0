"""Takes the colours out of some of the pictures."""

import numpy as np
import torch
from torch import Tensor

from worker.engine.transforms.functional import GREY, Mask, grey, of_each, to_bytes
from worker.engine.transforms.rng import Draws, Images


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
        chosen = self._chosen(draws)
        changed = images.copy()
        changed[chosen] = np.rint(images[chosen] @ GREY).astype(np.uint8)[..., None]
        return changed

    def on_device(self, images: Tensor, draws: Draws) -> Tensor:
        if images.shape[3] != len(GREY):
            return images
        without = to_bytes(grey(images.to(torch.float32)))[..., None]
        return torch.where(of_each(images, self._chosen(draws)), without, images)

    def _chosen(self, draws: Draws) -> Mask:
        return draws[:, 0] < self._p
