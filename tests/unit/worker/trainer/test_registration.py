"""Registering networks with existing weights: the bundle, the defaults, and weights that do not fit."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from core.spec import RegisterSpec
from models import bundle, registry
from models.efficientnet_lite import CODE, WEIGHTS
from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import RecordingChannel
from worker.protocol import Log, RunStarted, TrainingFinished

OPTIONS = {"channels": [4, 8], "batch_norm": True, "head": [6]}
FILE: dict[str, Any] = {
    "kind": "register",
    "name": "shapes",
    "architecture": {"name": "convnet", **OPTIONS},
    "weights": "file:shapes.safetensors",
    "image_shape": [3, 16, 12],
    "classes": ["circle", "square", "star"],
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "resize": "crop",
}


def build_weights(num_outputs: int = 3, channels: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(5)
    network = registry.build_network("convnet", OPTIONS, (channels, 16, 12), num_outputs)
    return dict(network.state_dict())


def write_weights(folder: Path, weights: dict[str, Tensor]) -> str:
    save_file(weights, folder / "shapes.safetensors")
    return str(folder / "shapes.safetensors")


def build_registration(tmp_path: Path, tensors: dict[str, Tensor] | None, **changes: Any) -> Any:
    path = None if tensors is None else write_weights(tmp_path, tensors)
    spec = RegisterSpec.model_validate(FILE | changes)
    return build_start(spec, Path(), tmp_path / "work", weights_path=path, dataset={})


def register(tmp_path: Path, tensors: dict[str, Tensor] | None, **changes: Any) -> RecordingChannel:
    status, channel = run_job(build_registration(tmp_path, tensors, **changes))
    assert status == 0, channel.messages[-1]
    return channel


def test_the_bundle_has_the_weights_and_the_preprocessing_of_the_spec(tmp_path: Path) -> None:
    weights = build_weights()
    channel = register(tmp_path, weights)
    [finished] = channel.select_messages(TrainingFinished)
    network, description = bundle.load_bundle(Path(finished.dir))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in network.state_dict().items())
    assert (description.image_shape, description.num_outputs, description.resize) == ((3, 16, 12), 3, "crop")
    assert (description.classes, description.task) == (["circle", "square", "star"], "classification")
    assert (description.mean, description.std) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    sha256 = bundle.compute_sha256(tmp_path / "shapes.safetensors")
    assert description.lineage["weights"] == {"file": "shapes.safetensors", "sha256": sha256}
    assert description.lineage["spec"]["architecture"]["name"] == "convnet"
    [started] = channel.select_messages(RunStarted)
    assert started.runtime["num_parameters"] == finished.num_parameters == sum(p.numel() for p in network.parameters())
    assert (finished.metrics, finished.evaluation) == ({}, {})


def test_counters_of_batch_norms_may_be_missing(tmp_path: Path) -> None:
    weights = {name: tensor for name, tensor in build_weights().items() if not name.endswith("num_batches_tracked")}
    register(tmp_path, weights)


def test_other_tensors_are_ignored_with_a_warning(tmp_path: Path) -> None:
    channel = register(tmp_path, build_weights() | {"aux.weight": torch.ones(2)})
    [log] = channel.select_messages(Log)
    assert (log.level, "aux.weight" in log.message) == ("warning", True)


def change(name: str, value: Tensor | None) -> dict[str, Tensor]:
    weights = build_weights()
    if value is None:
        del weights[name]
        return weights
    return weights | {name: value}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (change("features.0.bias", None), "the weights lack the tensors features.0.bias"),
        (build_weights(num_outputs=4), "have other shapes for the tensors head.3.weight, head.3.bias"),
        (change("features.0.bias", torch.full((4,), torch.nan)), "values that are not finite: features.0.bias"),
        ({"other": torch.ones(3)}, "the weights belong to another network"),
    ],
)
def test_weights_that_do_not_fit_are_an_invalid_spec(weights: dict[str, Tensor], message: str, tmp_path: Path) -> None:
    failed = run_to_failure(build_registration(tmp_path, weights))
    assert failed.code == "invalid_spec"
    assert message in failed.message


def test_a_network_without_published_weights_requires_all_fields(tmp_path: Path) -> None:
    failed = run_to_failure(build_registration(tmp_path, build_weights(), mean=None))
    assert "image_shape, classes, mean and std are required" in failed.message


@pytest.mark.skipif(
    not all(find_spec(name) for name in (CODE, WEIGHTS)), reason="the extra `pretrained` is not installed"
)
def test_published_weights_bring_their_classes_and_preprocessing(tmp_path: Path) -> None:
    fields = dict.fromkeys(("image_shape", "classes", "mean", "std", "resize"))
    lite = {"architecture": {"name": "efficientnet_lite0"}, "weights": "pretrained"}
    [finished] = register(tmp_path, None, **fields, **lite).select_messages(TrainingFinished)
    network, description = bundle.load_bundle(Path(finished.dir))
    assert (description.image_shape, description.num_outputs) == ((3, 224, 224), 1000)
    assert (description.classes[0], description.classes[999]) == ("tench", "toilet tissue")
    assert description.mean == pytest.approx([127 / 255] * 3)
    assert description.std == pytest.approx([128 / 255] * 3)
    assert (description.resize, description.resize_shorter_side, description.interpolation) == ("crop", 256, "bicubic")
    pretrained = registry.get_architecture("efficientnet_lite0").pretrained
    assert pretrained is not None
    assert len(pretrained.load_classes()) == pretrained.num_classes
    published = pretrained.load_weights()
    assert all(torch.equal(tensor, published[name]) for name, tensor in network.state_dict().items())
