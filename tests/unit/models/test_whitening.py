"""Whitening of patches and partial identity initialization."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from models.whitening import WhiteningConv2d, init_dirac


def make_correlated_images() -> torch.Tensor:
    noise = torch.randn(200, 3, 9, 9, generator=torch.Generator().manual_seed(0))
    return functional.avg_pool2d(noise, 2, stride=1) * torch.tensor([3.0, 1.0, 0.3]).view(1, 3, 1, 1)


def test_outputs_are_uncorrelated_with_unit_variance() -> None:
    images = make_correlated_images()
    layer = WhiteningConv2d(3, 2, bias=False, eps=1e-12)
    layer.fit_weights(torch.split(images, 64))
    outputs = layer(images).transpose(0, 1).flatten(1)
    half = len(outputs) // 2
    assert torch.allclose(outputs[:half] @ outputs[:half].T / outputs.shape[1], torch.eye(half), atol=1e-4)
    assert torch.equal(outputs[half:], -outputs[:half])


def test_components_are_sorted_by_variance() -> None:
    images = make_correlated_images()
    layer = WhiteningConv2d(3, 2, bias=False)
    layer.fit_weights([images])
    norms = layer.weight[: layer.out_channels // 2].flatten(1).norm(dim=1)
    assert torch.equal(norms, norms.sort().values)  # a larger variance is divided by more


def test_weights_do_not_depend_on_the_batches() -> None:
    images, layers = make_correlated_images(), [WhiteningConv2d(3, 2) for _ in range(2)]
    layers[0].fit_weights([images])
    layers[1].fit_weights(torch.split(images, 7))
    assert torch.allclose(layers[0].weight, layers[1].weight, atol=1e-5)


def test_only_the_bias_is_trained() -> None:
    layer = WhiteningConv2d(3, 2)
    assert [name for name, _ in layer.named_parameters()] == ["bias"]
    assert set(layer.state_dict()) == {"weight", "bias"}


@pytest.mark.parametrize("out", [2, 4, 10])
def test_dirac_copies_the_inputs_to_the_first_outputs(out: int) -> None:
    layer, images = nn.Conv2d(4, out, 3, padding=1, bias=False), torch.randn(2, 4, 5, 5)
    init_dirac(layer)
    same = min(out, 4)
    assert torch.equal(layer(images)[:, :same], images[:, :same])
    assert all(layer.weight[same:].flatten(1).count_nonzero(dim=1) > 1)


def test_dirac_copies_the_inputs_of_each_group() -> None:
    layer, images = nn.Conv1d(4, 8, 3, padding=1, bias=False, groups=2), torch.randn(2, 4, 5)
    init_dirac(layer)
    assert torch.equal(layer(images)[:, [0, 1, 4, 5]], images)
