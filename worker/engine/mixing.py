"""Mixes pairs of training images (mixup and CutMix). The shares of the two images differ from pair to pair.

Axes: B samples of a batch, C channels, H and W pixels.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class MixPairs(NamedTuple):
    """The pairs of samples to mix, and their shares.

    Attributes:
        partner: index of each sample's partner, (B,).
        share: the share of each sample in its mixed image, (B,), 0..1. The partner's share is 1 - share.
        partner_mask: pixels that come from the partner, (B, H, W). None: images are blended.
    """

    partner: Tensor
    share: Tensor
    partner_mask: Tensor | None = None


class BatchMixing(ABC):
    """The base class of mixing methods. Shares are drawn from Beta(alpha, alpha)."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @abstractmethod
    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        """Choose partners and shares from `mix_params`, (B, 4), see `draw_mix_params`."""

    @abstractmethod
    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        """Return the mixed images, float (B, C, H, W)."""


class Mixup(BatchMixing):
    """Blends each image with its partner. The image's own share is max(w, 1 - w) with w ~ Beta(alpha, alpha).

    luz gives the larger share to the partner, contrary to its documentation.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; luz_callback_mixup.
    """

    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        return MixPairs(pair_in_ring(mix_params[:, 1]), torch.maximum(mix_params[:, 0], 1 - mix_params[:, 0]))

    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        return torch.lerp(images[pairs.partner], images, pairs.share.view(-1, 1, 1, 1))


class Cutmix(BatchMixing):
    """Replaces a box at a random position with the same box of the partner's image.

    The box covers the fraction 1 - w of the image, with w ~ Beta(alpha, alpha). The box is clipped at the border. The
    image's own share is the fraction of its pixels outside the box. Source: Yun et al., "CutMix", 2019.
    """

    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        down = _mask_interval(mix_params[:, 2], mix_params[:, 0], height)
        across = _mask_interval(mix_params[:, 3], mix_params[:, 0], width)
        inside = down[:, :, None] & across[:, None]
        return MixPairs(pair_in_ring(mix_params[:, 1]), 1 - inside.float().mean(dim=(1, 2)), inside)

    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        assert pairs.partner_mask is not None  # noqa: S101 - set by `choose_pairs`
        return torch.where(pairs.partner_mask[:, None], images[pairs.partner], images)


def _mask_interval(center: Tensor, share: Tensor, size: int) -> Tensor:
    """Return a mask, (B, size), of the pixels in an interval of length sqrt(1 - share) * size around the center."""
    half = (1 - share).sqrt() * size / 2
    middle, pixel = center * size, torch.arange(size, device=center.device) + 0.5
    return (pixel >= (middle - half)[:, None]) & (pixel < (middle + half)[:, None])


def pair_in_ring(mix_params: Tensor) -> Tensor:
    """Return a partner for each sample, (B,): the sample with the next larger random number.

    The partner of the last sample in this order is the first one. If B > 1, no sample is paired with itself.
    """
    order = mix_params.argsort(stable=True)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner
