"""The workshop's network: its sizes, options and image sizes."""

import pytest
import torch
from torch import nn

from models import registry


@pytest.mark.parametrize(("batch_norm", "num_parameters"), [(False, 8_574_792), (True, 8_582_856)])
def test_network_has_the_workshops_number_of_parameters(batch_norm: bool, num_parameters: int) -> None:
    options = {"batch_norm": batch_norm}
    assert registry.validate_architecture("convnet", options, (3, 64, 64), 200).num_parameters == num_parameters


def test_dropout_adds_no_parameters_and_is_disabled_in_eval() -> None:
    network = registry.build_network("convnet", {"channels": [8, 8], "head": [16], "dropout": 0.5}, (1, 16, 16), 3)
    kinds = [type(layer) for layer in network.modules()]
    assert kinds.count(nn.Dropout2d) == 2
    assert kinds.count(nn.Dropout) == 1
    images = torch.rand(4, 1, 16, 16)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_batch_norm_precedes_relu_in_blocks_and_follows_it_in_the_head() -> None:
    network = registry.build_network("convnet", {"channels": [4], "head": [6], "batch_norm": True}, (1, 8, 8), 3)
    kinds = [type(layer) for layer in network.modules() if not list(layer.children())]
    assert kinds == [
        nn.Conv2d, nn.BatchNorm2d, nn.ReLU, nn.AdaptiveAvgPool2d, nn.Linear, nn.ReLU, nn.BatchNorm1d, nn.Linear
    ]  # fmt: skip


@pytest.mark.parametrize(("side", "last_map"), [(64, 4), (28, 3), (8, 2), (2, 2), (1, 1)])
def test_pooling_stops_at_small_feature_maps(side: int, last_map: int) -> None:
    network = registry.build_network("convnet", {"channels": [2] * 5, "head": []}, (1, side, side), 3)
    maps = network.features[:-1](torch.rand(1, 1, side, side))  # type: ignore[operator,index]  # a Sequential
    assert maps.shape[2:] == (last_map, last_map)


def test_network_accepts_non_square_images() -> None:
    assert registry.validate_architecture("convnet", {}, (1, 3, 200), 5).output_shape == (5,)


def test_batch_of_one_keeps_its_batch_axis() -> None:
    assert registry.build_network("convnet", {"channels": [4]}, (1, 8, 8), 3)(torch.rand(1, 1, 8, 8)).shape == (1, 3)
