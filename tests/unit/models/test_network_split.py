"""Splitting networks into frozen layers and a head: the outputs are those of the whole network."""

from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch import nn

import models  # noqa: F401 - registers the architectures
from core.spec.freezing import match_frozen_parameters
from models import registry
from models.logits import to_logits
from models.network_split import CannotSplit, NetworkSplit, find_frozen_norms

CONVNET = {"channels": [4, 8], "batch_norm": True, "head": [6]}


def freeze(network: nn.Module, patterns: Sequence[str], *, freezes_norms: bool = True) -> list[str]:
    """Freeze parameters, and put the network into the mode of the training."""
    frozen = match_frozen_parameters(patterns, [name for name, _ in network.named_parameters()])
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name not in frozen)
    network.train()
    for norm in find_frozen_norms(network) if freezes_norms else ():
        norm.eval()
    return frozen


def build(name: str, options: dict[str, Any], side: int = 32) -> nn.Module:
    torch.manual_seed(0)
    return registry.build_network(name, options, (3, side, side), 5)


@pytest.mark.parametrize(
    ("name", "options", "head", "shape"),
    [
        ("convnet", CONVNET, "head.*", (8,)),
        ("convnet", {**CONVNET, "dropout": 0.0, "head": []}, "head.*", (8,)),
        ("mlp", {"hidden": [7, 6], "dropout": 0.0}, "5.*", (6,)),
        ("resnet18", {}, "fc.*", (512,)),
        ("resnet18", {}, "layer4.1.*", (512, 1, 1)),
        ("squeezenet1_1", {}, "classifier.*", (512, 1, 1)),
        ("mobilenet_v3_small", {}, "classifier.*", (576,)),
        ("vgg11", {}, "classifier.*", (25088,)),
        ("densenet121", {}, "classifier.*", (1024,)),
        ("shufflenet_v2_x0_5", {}, "fc.*", (1024,)),
    ],
)
def test_body_and_head_together_are_the_network(
    name: str, options: dict[str, Any], head: str, shape: tuple[int, ...]
) -> None:
    network = build(name, options)
    split = NetworkSplit(network, freeze(network, ["*", f"!{head}"]))
    images = torch.rand(2, 3, 32, 32)
    for mode in (network.eval, network.train):
        mode()
        for norm in find_frozen_norms(network):
            norm.eval()
        torch.manual_seed(1)
        features = split.body(images)
        result = split.build_head(network)(features)
        torch.manual_seed(1)
        assert torch.equal(result, network(images))
        assert features.shape[1:] == shape
        assert result.requires_grad
        assert not features.requires_grad


def test_the_head_of_a_copy_uses_the_weights_of_the_copy() -> None:
    network, other = build("convnet", CONVNET), build("convnet", CONVNET)
    split = NetworkSplit(network, freeze(network, ["features.*"]))
    nn.init.zeros_(other.get_parameter("head.0.weight"))
    features = torch.rand(2, 8)
    assert not torch.equal(split.build_head(network)(features), split.build_head(other)(features))


@pytest.mark.parametrize(
    ("name", "options", "patterns", "reason"),
    [
        ("convnet", {**CONVNET, "dropout": 0.3}, ["*", "!head.4.*"], "'features.4' .* draws random numbers"),
        ("vgg11", {}, ["*", "!classifier.6.*"], "'classifier.2' .* draws random numbers"),
        ("efficientnet_b0", {}, ["*", "!classifier.*"], "stochastic_depth' .* draws random numbers"),
        ("efficientnet_lite0", {}, ["*", "!_fc.*"], "draws random numbers in training"),
        ("convnet", CONVNET, ["head.*"], "the first layer is trained"),
    ],
)
def test_a_network_without_constant_features_is_not_split(
    name: str, options: dict[str, Any], patterns: list[str], reason: str
) -> None:
    network = build(name, options)
    frozen = freeze(network, patterns)
    with pytest.raises(CannotSplit, match=reason):
        NetworkSplit(network, frozen)


def test_drop_rates_of_zero_make_features_constant() -> None:
    network = build("efficientnet_lite0", {"drop_connect": 0.0})
    split = NetworkSplit(network, freeze(network, ["*", "!_fc.*"]))
    assert split.body(torch.rand(2, 3, 32, 32)).shape == (2, 1280)


def test_a_batch_norm_that_updates_its_statistics_is_named() -> None:
    network = build("convnet", CONVNET)
    with pytest.raises(CannotSplit, match=r"batch norm 'features\.1' updates its statistics"):
        NetworkSplit(network, freeze(network, ["features.*"], freezes_norms=False))


def test_a_batch_norm_without_statistics_is_not_constant() -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(), nn.Linear(4, 2)
    )
    with pytest.raises(CannotSplit, match="batch norm '1'"):
        NetworkSplit(network, freeze(network, ["0.*", "1.*"]))


def test_converted_outputs_are_not_split() -> None:
    network = to_logits(build("convnet", CONVNET))
    with pytest.raises(CannotSplit, match="converted"):
        NetworkSplit(network, freeze(network, ["features.*"]))


def test_the_modes_of_the_layers_are_restored() -> None:
    network = build("convnet", {**CONVNET, "dropout": 0.0})
    frozen = freeze(network, ["features.*"])
    before = {name: module.training for name, module in network.named_modules()}
    NetworkSplit(network, frozen)
    assert {name: module.training for name, module in network.named_modules()} == before


def test_two_outputs_of_frozen_layers_are_too_many() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right, self.last = nn.Linear(3, 4), nn.Linear(3, 4), nn.Bilinear(4, 4, 2)

        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            scores: torch.Tensor = self.last(self.left(inputs), self.right(inputs))
            return scores

    network = Both()
    with pytest.raises(CannotSplit, match="read 2 outputs of frozen layers: left, right"):
        NetworkSplit(network, freeze(network, ["left.*", "right.*"]))
