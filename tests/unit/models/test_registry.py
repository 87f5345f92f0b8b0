"""The registry, and every registered network."""

import dataclasses
import subprocess
import sys

import pytest
import torch
import torchvision
from pydantic import ValidationError

from models import registry
from models.torchvision import TORCHVISION

IMAGENET_PARAMETERS = {"resnet18": 11_689_512, "mobilenet_v2": 3_504_872, "regnet_y_400mf": 4_344_144}
SIDES = {"vit_h_14": 98, "maxvit_t": 224}  # their patches must fill the picture
OPTIONS = {
    "layers": {
        "layers": [{"type": "adaptive_avg_pool2d", "size": 4}, {"type": "flatten"}, {"type": "linear", "out": 7}]
    }
}
TORCHVISION_NAMES = {architecture.name for architecture in TORCHVISION}
OWN_NAMES = [name for name in registry.list_architectures() if name not in TORCHVISION_NAMES]
RUN = [
    *(name for name in OWN_NAMES if 3 in registry.get_architecture(name).axes),
    "alexnet",
    "convnext_tiny",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v3_small",
    "regnet_x_400mf",
    "resnet18",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
    "swin_t",
    "vit_b_32",
]


@pytest.mark.parametrize("name", registry.list_architectures())
def test_every_network_maps_samples_of_any_channels_to_scores(name: str) -> None:
    side = SIDES.get(name, 96)
    shape = (2, side, side) if 3 in registry.get_architecture(name).axes else (5,)
    summary = registry.validate_architecture(name, OPTIONS.get(name, {}), shape, 7)
    assert summary.output_shape == (7,)
    assert summary.num_parameters > 0


@pytest.mark.parametrize("name", RUN)
def test_networks_train_on_images(name: str) -> None:
    torch.manual_seed(0)
    network = registry.build_network(name, OPTIONS.get(name, {}), (1, 64, 64), 7)
    scores = network(torch.rand(2, 1, 64, 64))
    assert scores.shape == (2, 7)
    assert scores.isfinite().all()
    scores.sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert any(gradient is not None and gradient.abs().sum() > 0 for gradient in gradients)


def test_all_torchvision_classifiers_are_registered() -> None:
    theirs = torchvision.models.list_models(module=torchvision.models)
    assert set(theirs) == TORCHVISION_NAMES <= set(registry.list_architectures())


@pytest.mark.parametrize(("name", "num_parameters"), IMAGENET_PARAMETERS.items())
def test_networks_have_the_published_number_of_parameters(name: str, num_parameters: int) -> None:
    assert registry.validate_architecture(name, {}, (3, 224, 224), 1000).num_parameters == num_parameters


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("alexnet", 63), ("vgg11", 32), ("densenet121", 29), ("inception_v3", 75), ("convnext_tiny", 32), ("swin_t", 4)],
)
def test_small_image_is_rejected_with_the_minimum_size(name: str, smallest: int) -> None:
    assert registry.validate_architecture(name, {}, (3, smallest, smallest), 10).output_shape == (10,)
    with pytest.raises(
        registry.ArchitectureBuildError, match=rf"at least \(3, {smallest}, {smallest}\).*\(3, {smallest - 1}, 200\)"
    ):
        registry.validate_architecture(name, {}, (3, smallest - 1, 200), 10)


@pytest.mark.parametrize(("name", "shape", "wanted"), [("vit_b_16", (3, 28, 28), 32), ("maxvit_t", (3, 64, 96), 224)])
def test_vision_transformer_reports_an_accepted_size(name: str, shape: registry.Shape, wanted: int) -> None:
    with pytest.raises(registry.ArchitectureBuildError, match=rf"\(3, {wanted}, {wanted}\)"):
        registry.validate_architecture(name, {}, shape, 10)
    assert registry.validate_architecture(name, {}, (3, wanted, wanted), 10).output_shape == (10,)


def test_unknown_name_lists_the_available_ones() -> None:
    with pytest.raises(registry.UnknownArchitecture) as caught:
        registry.get_architecture("convnt")
    assert "convnet" in caught.value.available


def test_name_is_registered_only_once() -> None:
    with pytest.raises(ValueError, match="convnet"):
        registry.register(registry.get_architecture("convnet"))


def test_pretrained_weights_require_a_recipe() -> None:
    lite = registry.get_architecture("efficientnet_lite0")
    with pytest.raises(ValueError, match="'lite' has pretrained weights, but no recipe"):
        registry.register(dataclasses.replace(lite, name="lite", recipe=None))


def test_resolve_options_adds_every_default() -> None:
    assert registry.resolve_options("convnet", {"channels": [8]}) == {
        "channels": [8],
        "kernel": 3,
        "batch_norm": False,
        "dropout": 0.0,
        "head": [1024, 1024],
    }


@pytest.mark.parametrize(
    "options",
    [{"chanels": [8]}, {"channels": []}, {"channels": [0]}, {"channels": [True]}, {"dropout": 1.0}, {"kernel": 4},
     {"dropout": float("nan")}, {"channels": [10**9]}, {"batch_norm": 1}],
)  # fmt: skip
def test_wrong_options_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        registry.resolve_options("convnet", options)


@pytest.mark.parametrize("name", OWN_NAMES)
def test_every_option_is_described(name: str) -> None:
    schema = registry.get_architecture(name).options.model_json_schema()
    assert all("description" in option for option in schema["properties"].values())


def test_validation_draws_no_random_numbers() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    registry.validate_architecture("resnet18", {}, (3, 32, 32), 10)
    assert torch.equal(torch.get_rng_state(), before)


def test_equal_seeds_build_equal_networks() -> None:
    def weights() -> list[torch.Tensor]:
        torch.manual_seed(5)
        return list(registry.build_network("convnet", {"channels": [4, 4]}, (1, 8, 8), 3).parameters())

    assert all(torch.equal(one, other) for one, other in zip(weights(), weights(), strict=True))


def test_importing_models_does_not_import_torchvision() -> None:
    code = "import models, sys; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=120).returncode == 0
