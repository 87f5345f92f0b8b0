"""PyTorch weights become safetensors files whose tensors fit an architecture."""

import pickle
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor

import models
from candela.errors import CandelaError
from candela.weights import AUXILIARY, compare_with_architecture, convert_weights
from models.torchvision import FAMILIES

SMALL = "squeezenet1_1"


@pytest.fixture
def save(tmp_path: Path) -> Callable[..., Path]:
    def save_document(document: Any, name: str = "weights.pth") -> Path:
        torch.save(document, tmp_path / name)
        return tmp_path / name

    return save_document


def build_state(name: str = SMALL, **options: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return dict(torchvision.models.get_model(name, weights=None, **options).state_dict())


def test_a_state_dict_becomes_a_safetensors_file(save: Callable[..., Path]) -> None:
    state = build_state()
    done = convert_weights(save(state), None, SMALL)
    assert (done.path.name, done.num_tensors, done.num_outputs, done.channels) == ("weights.safetensors", 52, 1000, 3)
    loaded = load_file(done.path)
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in state.items())
    assert [path.name for path in sorted(done.path.parent.iterdir())] == ["weights.pth", "weights.safetensors"]


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"epoch": 3, "state_dict": state},
        lambda state: {"model": {"state_dict": state}, "optimizer": {"lr": 0.1}},
        lambda state: OrderedDict((f"module.{name}", tensor) for name, tensor in state.items()),
        lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
    ],
    ids=["checkpoint", "nested", "DataParallel", "compiled"],
)
def test_a_wrapped_state_dict_is_found(save: Callable[..., Path], wrap: Callable[[Any], Any]) -> None:
    state = build_state()
    assert load_file(convert_weights(save(wrap(state)), None, SMALL).path).keys() == state.keys()


def test_tensors_that_share_memory_are_written(save: Callable[..., Path]) -> None:
    state = build_state()
    state["features.0.bias"] = torch.zeros(2, 64)[1]
    state["features.3.squeeze.bias"] = torch.arange(32.0)[::2]
    assert torch.equal(
        load_file(convert_weights(save(state), None, SMALL).path)["features.3.squeeze.bias"], torch.arange(0.0, 32.0, 2)
    )


def test_another_number_of_outputs_or_channels_is_accepted(save: Callable[..., Path]) -> None:
    state = build_state(num_classes=7)
    state["features.0.weight"] = state["features.0.weight"].sum(1, keepdim=True)
    done = convert_weights(save(state), None, SMALL)
    assert (done.num_outputs, done.channels) == (7, 1)


def test_tensors_that_do_not_fit_are_listed(save: Callable[..., Path]) -> None:
    state = build_state()
    del state["features.0.bias"]
    state["extra.weight"] = torch.zeros(1)
    state["features.3.squeeze.bias"] = torch.zeros(3)
    file = save(state)
    with pytest.raises(CandelaError) as caught:
        convert_weights(file, None, SMALL)
    text = str(caught.value)
    assert "1 missing: features.0.bias" in text
    assert "1 unexpected: extra.weight" in text
    assert "1 of another shape: features.3.squeeze.bias" in text
    assert not file.with_suffix(".safetensors").exists()
    done = convert_weights(file, None, SMALL, is_partial=True)
    assert sorted(done.dropped) == ["extra.weight", "features.3.squeeze.bias"]
    assert not {"extra.weight", "features.3.squeeze.bias"} & load_file(done.path).keys()
    assert convert_weights(file, None, "anything", is_checked=False).num_tensors == 52


def test_weights_of_another_architecture_are_refused(save: Callable[..., Path]) -> None:
    with pytest.raises(CandelaError, match="does not fit the architecture 'alexnet'"):
        convert_weights(save(build_state()), None, "alexnet")
    with pytest.raises(CandelaError, match="no tensor fits"):
        convert_weights(save({"a": torch.zeros(1)}), None, "alexnet", is_partial=True)


@pytest.mark.parametrize("content", [pickle.dumps(print), b"", b"PK\x03\x04 damaged", b"no weights at all"])
def test_a_file_that_is_no_state_dict_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(content)
    with pytest.raises(CandelaError, match=r"weights\.pth (contains Python objects|is not a PyTorch file)"):
        convert_weights(file, None, SMALL)


class Payload:
    """An object whose unpickling writes a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self._path,)


def test_no_code_of_a_file_is_run(save: Callable[..., Path], tmp_path: Path) -> None:
    file = save({"weight": torch.zeros(1), "payload": Payload(tmp_path / "executed")})
    with pytest.raises(CandelaError, match="contains Python objects"):
        convert_weights(file, None, SMALL)
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        ([torch.zeros(1)], "contains a list"),
        ({"epoch": 3, "weight": torch.zeros(1)}, "these values are not tensors: epoch"),
        ({}, "it is empty"),
        ({"weight": torch.tensor([float("nan")])}, "not finite: weight"),
    ],
)
def test_an_invalid_document_is_explained(save: Callable[..., Path], document: Any, reason: str) -> None:
    with pytest.raises(CandelaError, match=reason):
        convert_weights(save(document), None, "anything", is_checked=False)


def test_an_unknown_architecture_has_suggestions(save: Callable[..., Path]) -> None:
    with pytest.raises(CandelaError, match="'resnet19' is not a classifier of torchvision; similar names: resnet"):
        convert_weights(save(build_state()), None, "resnet19")


@pytest.mark.parametrize("name", ["-a.safetensors", "a b.safetensors", "a.bin"])
def test_a_name_that_a_spec_cannot_have_is_refused(save: Callable[..., Path], tmp_path: Path, name: str) -> None:
    with pytest.raises(CandelaError, match="is not a name that `weights` accepts"):
        convert_weights(save(build_state()), tmp_path / name, SMALL)


@pytest.mark.parametrize("package", ["torch", "torchvision", "safetensors"])
def test_a_missing_package_is_named(save: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, package: str) -> None:
    file = save(build_state())
    for module in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(CandelaError, match=rf"^{package} is required .*pip install {package}$"):
        convert_weights(file, None, SMALL)


def test_old_names_of_densenet_and_auxiliary_outputs(save: Callable[..., Path]) -> None:
    state = build_state("densenet121")
    old = {name.replace(".norm1.", ".norm.1.").replace(".conv2.", ".conv.2."): tensor for name, tensor in state.items()}
    assert old.keys() != state.keys()
    assert load_file(convert_weights(save(old), None, "densenet121").path).keys() == state.keys()
    state = build_state("googlenet", aux_logits=True, init_weights=False)
    done = convert_weights(save(state), None, "googlenet")
    assert done.dropped
    assert all(name.startswith(AUXILIARY) for name in done.dropped)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet18", "vit_b_16", "regnet_y_400mf", "inception_v3", "mobilenet_v3_small"])
def test_the_network_of_the_service_has_the_tensors_of_torchvision(name: str) -> None:
    """What a converted file must contain is what a registration requires."""
    assert any(name in family.variants.split() for family in FAMILIES)
    for outputs, channels in ((1000, 3), (5, 1)):
        shape = (channels, 299, 299) if name == "inception_v3" else (channels, 224, 224)
        with torch.device("meta"):
            network = models.registry.build_network(name, {}, shape, outputs)
        found = compare_with_architecture(network.state_dict(), name)
        assert found._replace(missing=[], unexpected=[], mismatched=[]) == found
        assert (found.num_outputs, found.channels) == (outputs, channels)
