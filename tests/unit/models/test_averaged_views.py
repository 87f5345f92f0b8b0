"""Averages over mirrored and shifted views."""

import torch
from torch import nn

from models.averaged_views import AveragedViews

IMAGE = torch.arange(6.0).view(1, 1, 2, 3)


def test_mirrored_views_are_averaged() -> None:
    scores = AveragedViews(nn.Flatten(), "mirror")(IMAGE)
    assert torch.equal(scores, (IMAGE + IMAGE.flip(3)).flatten(1) / 2)


def test_shifted_views_have_reflected_borders() -> None:
    top_left = torch.tensor([[4.0, 3, 4], [1, 0, 1]])
    bottom_right = torch.tensor([[4.0, 5, 4], [1, 2, 1]])
    views = torch.stack([2 * IMAGE[0, 0], top_left, bottom_right])
    expected = (views + views.flip(2)).sum(0).flatten() / 8
    scores = AveragedViews(nn.Flatten(), "mirror_and_shift")(IMAGE)
    assert torch.allclose(scores, expected[None])


def test_symmetric_network_has_the_same_scores() -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
    images = torch.randn(3, 2, 6, 6)
    assert torch.allclose(AveragedViews(network, "mirror")(images), network(images), atol=1e-6)
