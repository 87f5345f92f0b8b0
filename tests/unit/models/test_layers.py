"""The architecture `layers`: valid lists, and errors of invalid ones."""

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from models import bundle, registry
from models.layers_spec import ActivationSpec
from tests.support.bundles import build_description

Layer = dict[str, Any]
FLATTEN: Layer = {"type": "flatten"}
OUT: Layer = {"type": "linear", "out": 10}


def conv(out: int, **options: object) -> Layer:
    return {"type": "conv2d", "out": out, "kernel": 3, **options}


def check(*layers: Layer, shape: registry.Shape = (3, 8, 8), num_outputs: int = 10) -> registry.NetworkSummary:
    return registry.validate_architecture("layers", {"layers": list(layers)}, shape, num_outputs)


BUILDS: list[list[Layer]] = [
    [FLATTEN, {"type": "linear", "in": 192, "out": 10}],
    [conv(4, padding="same"), {"type": "batch_norm"}, {"type": "relu"}, {"type": "max_pool2d", "kernel": 2}, FLATTEN,
     OUT],
    [{"type": "flatten", "start_dim": 2}, {"type": "conv1d", "out": 2, "kernel": 5}, {"type": "batch_norm"},
     {"type": "adaptive_max_pool1d"}, FLATTEN, OUT],
    [{"type": "reshape", "shape": [3, 2, 4, 8]}, {"type": "conv3d", "out": 4, "kernel": [2, 3, 3]},
     {"type": "batch_norm"}, {"type": "dropout3d"}, {"type": "avg_pool3d", "kernel": 1}, FLATTEN, OUT],
    [conv(4, stride=[2, 1], groups=1, bias=False), {"type": "layer_norm"}, {"type": "group_norm", "groups": 2},
     {"type": "leaky_relu"}, {"type": "elu"}, {"type": "dropout2d", "p": 0.1}, {"type": "adaptive_avg_pool2d"}, FLATTEN,
     {"type": "batch_norm1d"}, {"type": "gelu"}, OUT, {"type": "log_softmax"}],
    [{"type": "residual", "layers": [conv(6, padding=1), {"type": "relu"}],
      "projection": [{"type": "conv2d", "out": 6, "kernel": 1}]},
     {"type": "residual", "layers": [conv(6, padding=1)]}, FLATTEN, OUT],
    [{"type": "whitening"}, conv(4, init="dirac"), {"type": "batch_norm", "scale": False}, FLATTEN, OUT,
     {"type": "scale", "factor": 0.1}],
]  # fmt: skip


@pytest.mark.parametrize("layers", BUILDS)
def test_valid_lists_build_networks(layers: list[Layer]) -> None:
    network = registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)
    scores = network(torch.rand(2, 3, 8, 8))
    assert scores.shape == (2, 10)
    assert check(*layers).num_parameters == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("layers", BUILDS)
def test_a_bundle_has_everything_that_a_network_computes_with(layers: list[Layer], tmp_path: Path) -> None:
    network = registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)
    network(torch.rand(4, 3, 8, 8))  # moves the running statistics of batch norms
    description = build_description(
        architecture={"name": "layers", "options": {"layers": layers}},
        image_shape=(3, 8, 8),
        num_outputs=10,
        classes=[str(digit) for digit in range(10)],
        mean=[0.3] * 3,
        std=[0.2] * 3,
    )
    bundle.save_bundle(tmp_path, network, description)
    loaded, _ = bundle.load_bundle(tmp_path)
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(loaded(images), network.eval()(images))


@pytest.mark.parametrize("name", get_args(ActivationSpec.model_fields["type"].annotation))
def test_every_activation_equals_torch(name: str) -> None:
    values = torch.tensor([-2.0, 1.0, 5.0, -7.0])
    network = registry.build_network("layers", {"layers": [FLATTEN, {"type": name}]}, (1, 2, 2), 4)
    known = {word.lower(): word for word in vars(nn)}
    torchs: nn.Module = getattr(nn, known[name.replace("_", "")])()
    assert torch.equal(network.eval()(values.view(1, 1, 2, 2)).flatten(), torchs.eval()(values))


def test_residual_adds_its_input() -> None:
    network = registry.build_network(
        "layers", {"layers": [{"type": "residual", "layers": [{"type": "relu"}]}, FLATTEN]}, (1, 1, 2), 2
    )
    assert network(torch.tensor([[[[-1.0, 2.0]]]])).tolist() == [[-1.0, 4.0]]


def test_scale_multiplies_its_input() -> None:
    network = registry.build_network("layers", {"layers": [{"type": "scale", "factor": -2.0}, FLATTEN]}, (1, 1, 2), 2)
    assert network(torch.tensor([[[[-1.0, 2.0]]]])).tolist() == [[2.0, -4.0]]


def test_batch_norm_without_scale_equals_torchs_with_a_scale_of_one() -> None:
    layers = [{"type": "batch_norm", "scale": False}, FLATTEN]
    network = registry.build_network("layers", {"layers": layers}, (2, 3, 3), 18)
    images = torch.randn(4, 2, 3, 3)
    assert [name for name, _ in network.named_parameters()] == ["0.bias"]
    assert torch.equal(network(images), nn.BatchNorm2d(2)(images).flatten(1))


@pytest.mark.parametrize(("kind", "in_channels"), [("conv1d", 3), ("conv2d", 3), ("conv3d", 1)])
def test_dirac_initialization_makes_a_convolution_the_identity(kind: str, in_channels: int) -> None:
    shape = (in_channels, *{"conv1d": (8,), "conv2d": (4, 4), "conv3d": (4, 4, 4)}[kind])
    layers = [{"type": kind, "out": in_channels, "kernel": 3, "padding": "same", "bias": False, "init": "dirac"}]
    images = torch.randn(2, *shape)
    network = registry.build_network(
        "layers",
        {"layers": [{"type": "reshape", "shape": list(shape)}, *layers, FLATTEN]},
        (images[0].numel(),),
        images[0].numel(),
    )
    assert torch.equal(network(images.flatten(1)), images.flatten(1))


MISFITS: list[tuple[list[Layer], str, str]] = [
    ([OUT], "layers/0", "(features,), but its input is (3, 8, 8): add a flatten before it"),
    ([FLATTEN, {"type": "linear", "in": 100, "out": 10}], "layers/1/in", "(100,), but its input is (192,)"),
    ([conv(4, **{"in": 1})], "layers/0/in", "(1, 8, 8), but its input is (3, 8, 8)"),
    ([{"type": "batch_norm", "in": 4}], "layers/0/in", "(4, 8, 8), but its input is (3, 8, 8)"),
    ([{"type": "batch_norm1d"}], "layers/0", "(C, L), but its input is (3, 8, 8)"),
    ([{"type": "conv1d", "out": 4, "kernel": 3}], "layers/0", "(C, L), but its input is (3, 8, 8)"),
    ([conv(4, kernel=30)], "layers/0", "cannot process shape (3, 8, 8)"),
    ([conv(4, kernel=[3, 3, 3])], "layers/0/kernel", "one number or 2 numbers"),
    ([conv(4, groups=2)], "layers/0", "divisible by groups"),
    ([{"type": "max_pool2d", "kernel": 9}], "layers/0", "cannot process shape (3, 8, 8)"),
    ([{"type": "max_pool2d", "kernel": 2, "padding": 2}], "layers/0", "pad should be"),
    ([{"type": "flatten", "start_dim": 4}], "layers/0", "cannot process shape (3, 8, 8)"),
    ([{"type": "reshape", "shape": [5]}], "layers/0", "cannot process shape (3, 8, 8)"),
    (
        [{"type": "residual", "layers": [conv(4, padding=1)]}, FLATTEN, OUT],
        "layers/0",
        "(4, 8, 8) of its layers to (3, 8, 8)",
    ),
    (
        [{"type": "residual", "layers": [conv(3), conv(3, **{"in": 2})]}],
        "layers/0/layers/1/in",
        "but its input is (3, 6, 6)",
    ),
    ([{"type": "relu"}, {"type": "whitening"}], "layers/1", "must be the first layer, but other layers precede it"),
    ([{"type": "whitening", "kernel": 7}, {"type": "whitening"}], "layers/1", "must be the first layer"),
    ([FLATTEN, {"type": "linear", "out": 9}, {"type": "relu"}], "layers/1/out", "(9,), but the task requires (10,)"),
    ([conv(10)], "layers/0", "(10, 6, 6), but the task requires (10,)"),
]


@pytest.mark.parametrize(("layers", "path", "message"), MISFITS)
def test_misfit_reports_its_location_and_both_shapes(layers: list[Layer], path: str, message: str) -> None:
    with pytest.raises(registry.ArchitectureBuildError, match=re.escape(message)) as caught:
        check(*layers)
    assert caught.value.path == path


@pytest.mark.parametrize(
    "layers",
    [
        [FLATTEN, *[{"type": "linear", "out": 1_000_000}] * 3, OUT],
        [conv(65_536, padding=1000), FLATTEN, OUT],
        [conv(65_536, kernel=1), conv(65_536, kernel=1024, padding=1024), FLATTEN, OUT],
        [{"type": "residual", "layers": [{"type": "relu"}] * 100}] * 20 + [FLATTEN, OUT],
    ],
)
def test_oversized_list_is_rejected_before_allocating_memory(layers: list[Layer]) -> None:
    with pytest.raises(registry.ArchitectureBuildError):
        registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)


def test_invalid_last_layer_allocates_no_memory() -> None:
    layers = [
        FLATTEN,
        {"type": "linear", "out": 1_000_000},
        {"type": "linear", "out": 1_500},
        {"type": "linear", "out": 3},
    ]
    with pytest.raises(registry.ArchitectureBuildError):
        registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)


@pytest.mark.parametrize("depth", [20, 2000])
def test_nesting_is_limited(depth: int) -> None:
    layer: Layer = {"type": "relu"}
    for _ in range(depth):
        layer = {"type": "residual", "layers": [layer]}
    with pytest.raises((registry.ArchitectureBuildError, ValidationError)):
        check(layer, FLATTEN, OUT)


@pytest.mark.parametrize(
    "layer",
    [{"type": "bathc_norm"}, {"type": "linear"}, {"type": "linear", "out": 0}, {"type": "linear", "out": 2**40}, {},
     {"type": "relu", "p": 1}, conv(4, kernel=0), conv(4, padding="valid"),
     {"type": "dropout", "p": 1.0}, conv(4, stride=True)],
)  # fmt: skip
def test_malformed_layers_are_rejected(layer: Layer) -> None:
    with pytest.raises(ValidationError):
        check(layer)


def test_resolve_options_returns_the_clients_form() -> None:
    layers = [{"type": "linear", "in": 3, "out": 2}]
    resolved = registry.resolve_options("layers", {"layers": layers})
    assert resolved == {"layers": [{"type": "linear", "in": 3, "out": 2, "bias": True}]}
    assert registry.resolve_options("layers", resolved) == resolved


@pytest.mark.parametrize(
    ("layers", "bidirectional", "is_accepted"), [(32, False, True), (32, True, False), (20, True, True)]
)
def test_recurrent_layers_count_once_per_layer_and_direction(
    layers: int, bidirectional: bool, is_accepted: bool
) -> None:
    stack: Layer = {"type": "lstm", "hidden": 2, "layers": layers, "bidirectional": bidirectional, "take": "all"}
    network = [*[stack] * 24, {"type": "lstm", "hidden": 4}, OUT]
    if is_accepted:
        assert check(*network, shape=(2, 4)).num_parameters > 0
        return
    with pytest.raises(registry.ArchitectureBuildError, match="more than 1000 layers"):
        check(*network, shape=(2, 4))


def test_network_of_the_trial_equals_the_built_network() -> None:
    layers = [conv(4), {"type": "batch_norm"}, {"type": "dropout"}, FLATTEN, OUT]
    with torch.device("meta"):
        trial = registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)
    built = registry.build_network("layers", {"layers": layers}, (3, 8, 8), 10)
    assert str(trial) == str(built)
    assert [module.training for module in trial.modules()] == [module.training for module in built.modules()]
    assert {parameter.device.type for parameter in trial.parameters()} == {"meta"}
