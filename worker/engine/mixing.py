"""Mixes pairs of training pictures and their losses, with a share for each pair that belongs to the sample.

Axes: B samples of a batch, C channels, H and W pixels.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from worker.engine.losses import Each, Focal

WEIGHTED_MEANS = (nn.CrossEntropyLoss, nn.NLLLoss, Focal)  # with class weights they divide by the sum of the weights


class Mixed(NamedTuple):
    """Pictures, (B, C, H, W); the index of each one's partner, (B,); the share that is its own, (B,), 0..1."""

    images: Tensor
    partner: Tensor
    share: Tensor


Mixer = Callable[[Tensor, Tensor], Mixed]


class Mixture(NamedTuple):
    """A way of mixing, and the parameter of the Beta distribution that shares come from."""

    mixer: Mixer
    alpha: float


def mixup(images: Tensor, draws: Tensor) -> Mixed:
    """Blend each picture with its partner's; its own share is max(w, 1 - w) of w ~ Beta(alpha, alpha).

    luz gives that larger share to the partner, contrary to its own text.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; luz_callback_mixup.

    Args:
        images: float, (B, C, H, W).
        draws: (B, 4), as `draw_mix` makes them.
    """
    share, partner = torch.maximum(draws[:, 0], 1 - draws[:, 0]), ring(draws[:, 1])
    return Mixed(torch.lerp(images[partner], images, share.view(-1, 1, 1, 1)), partner, share)


def cutmix(images: Tensor, draws: Tensor) -> Mixed:
    """Put a box of the partner's picture, of 1 - w of the area with w ~ Beta(alpha, alpha), at a random place.

    The share is by the pixels that are left. Source: Yun et al., "CutMix", 2019.
    """
    partner, (height, width) = ring(draws[:, 1]), images.shape[2:]
    inside = _between(draws[:, 2], draws[:, 0], height)[:, :, None] & _between(draws[:, 3], draws[:, 0], width)[:, None]
    share = 1 - inside.float().mean(dim=(1, 2))
    return Mixed(torch.where(inside[:, None], images[partner], images), partner, share)


def _between(centre: Tensor, share: Tensor, size: int) -> Tensor:
    """Which of `size` pixels lie within sqrt(1 - share) of the size around a centre, (B, size)."""
    half = (1 - share).sqrt() * size / 2
    middle, pixel = centre * size, torch.arange(size, device=centre.device) + 0.5
    return (pixel >= (middle - half)[:, None]) & (pixel < (middle + half)[:, None])


def ring(draws: Tensor) -> Tensor:
    """A partner for everybody, (B,): all stand in a ring in the order of their numbers; nobody is alone if B > 1."""
    order = draws.argsort(stable=True)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner


class MixedLoss(nn.Module):
    """The mean of each picture's loss against its own target and its partner's, by their shares.

    For cross entropy that is the loss against the mixed probabilities.
    """

    def __init__(self, loss: nn.Module) -> None:
        """`loss` gives a mean, and each sample's when its `reduction` is "none"."""
        super().__init__()
        self._each = Each(loss)
        self._weight = loss.weight if isinstance(loss, WEIGHTED_MEANS) else None

    def forward(self, pred: Tensor, targets: Tensor, mixed: Mixed) -> Tensor:
        """A scalar, from scores (B, num_outputs), the pictures' own targets, and how they were mixed."""
        own, other = self._each(pred, targets), self._each(pred, targets[mixed.partner])
        total = torch.lerp(other, own, mixed.share)
        if self._weight is None:
            return total.mean()
        weight = self._weight[targets]
        return total.sum() / torch.lerp(weight[mixed.partner], weight, mixed.share).sum()
