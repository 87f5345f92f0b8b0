"""New heads of torchvision's networks."""

import pytest
import torch

import models  # noqa: F401 - registers the architectures
from models import registry
from models.registry import ArchitectureBuildError

SHAPE = (3, 64, 64)


def test_resnet_with_the_workshops_head_has_its_number_of_parameters() -> None:
    assert registry.validate_architecture("resnet18", {}, SHAPE, 1000).num_parameters == 11_689_512
    with torch.device("meta"):
        network = registry.build_network("resnet18", {"head": [1024, 1024]}, SHAPE, 200)
    assert sum(p.numel() for name, p in network.named_parameters() if name.startswith("fc.")) == 1_779_912


def test_network_without_linear_layer_rejects_a_head() -> None:
    with pytest.raises(ArchitectureBuildError, match="convolution"):
        registry.validate_architecture("squeezenet1_1", {"head": [8]}, SHAPE, 10)


@pytest.mark.parametrize("name", ["resnet18", "resnext50_32x4d", "wide_resnet50_2"])
def test_cifar_stem_keeps_the_size_of_small_images(name: str) -> None:
    network = registry.build_network(name, {"stem": "cifar"}, (1, 32, 32), 10).eval()
    sizes = []
    network.get_submodule("layer1").register_forward_hook(lambda _layer, inputs, _output: sizes.append(inputs[0].shape))
    assert network(torch.zeros(1, 1, 32, 32)).shape == (1, 10)
    assert sizes == [(1, 64, 32, 32)]


def test_resnet18_with_the_cifar_stem_has_its_number_of_parameters() -> None:
    assert registry.validate_architecture("resnet18", {"stem": "cifar"}, (3, 32, 32), 10).num_parameters == 11_173_962
