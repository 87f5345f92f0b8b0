"""Mixes pairs of training pictures, with a share for each pair that belongs to the sample.

Axes: B samples of a batch, C channels, H and W pixels.
"""

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor


class MixPairs(NamedTuple):
    """Who is mixed with whom: the index of each one's partner, (B,); the share that is its own, (B,), 0..1.

    `inside`: the pixels that are the partner's, (B, H, W), where pictures are not blended.
    """

    partner: Tensor
    share: Tensor
    partner_mask: Tensor | None = None


class BatchMixing(ABC):
    """A way of mixing. `alpha`: the parameter of the Beta distribution that shares come from."""

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    @abstractmethod
    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        """Choose partners and shares by `draws`, (B, 4), as `draw_mix` makes them."""

    @abstractmethod
    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        """The mixed pictures, float (B, C, H, W)."""


class Mixup(BatchMixing):
    """Blend each picture with its partner's; its own share is max(w, 1 - w) of w ~ Beta(alpha, alpha).

    luz gives that larger share to the partner, contrary to its own text.
    Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2017; luz_callback_mixup.
    """

    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        return MixPairs(pair_in_ring(mix_params[:, 1]), torch.maximum(mix_params[:, 0], 1 - mix_params[:, 0]))

    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        return torch.lerp(images[pairs.partner], images, pairs.share.view(-1, 1, 1, 1))


class Cutmix(BatchMixing):
    """Put a box of the partner's picture, of 1 - w of the area with w ~ Beta(alpha, alpha), at a random place.

    The share is by the pixels that are left. Source: Yun et al., "CutMix", 2019.
    """

    def choose_pairs(self, mix_params: Tensor, height: int, width: int) -> MixPairs:
        down = _mask_interval(mix_params[:, 2], mix_params[:, 0], height)
        across = _mask_interval(mix_params[:, 3], mix_params[:, 0], width)
        inside = down[:, :, None] & across[:, None]
        return MixPairs(pair_in_ring(mix_params[:, 1]), 1 - inside.float().mean(dim=(1, 2)), inside)

    def blend(self, images: Tensor, pairs: MixPairs) -> Tensor:
        assert pairs.partner_mask is not None  # noqa: S101 - `pair` made it
        return torch.where(pairs.partner_mask[:, None], images[pairs.partner], images)


def _mask_interval(centre: Tensor, share: Tensor, size: int) -> Tensor:
    """Which of `size` pixels lie within sqrt(1 - share) of the size around a centre, (B, size)."""
    half = (1 - share).sqrt() * size / 2
    middle, pixel = centre * size, torch.arange(size, device=centre.device) + 0.5
    return (pixel >= (middle - half)[:, None]) & (pixel < (middle + half)[:, None])


def pair_in_ring(mix_params: Tensor) -> Tensor:
    """A partner for everybody, (B,): all stand in a ring in the order of their numbers; nobody is alone if B > 1."""
    order = mix_params.argsort(stable=True)
    partner = torch.empty_like(order)
    partner[order] = order.roll(-1)
    return partner
