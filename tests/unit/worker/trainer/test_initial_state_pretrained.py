"""Transfer learning from pretrained weights: a frozen body, and parameter groups with separate learning rates."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from core.datasets.packed import PackedDataset
from models import bundle, registry
from models.efficientnet_lite import CODE, WEIGHTS
from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import build_spec, cpu_placement, pack
from worker.builders import build_run
from worker.protocol import CheckpointWritten, Log, RunStarted, TrainingFinished
from worker.trainer.initial_state import load_initial_weights

SPEC: dict[str, Any] = {"architecture": {"name": "efficientnet_lite0"}, "weights": "pretrained", "epochs": 2}


pytestmark = pytest.mark.skipif(
    not all(find_spec(name) for name in (CODE, WEIGHTS)), reason="the extra `pretrained` is not installed"
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=60, image_shape=[3, 32, 32])
    return folder


@pytest.mark.slow
def test_frozen_body_keeps_its_pretrained_weights(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(**SPEC, freeze=["*", "!_fc.*"], optimizer={"name": "adam", "lr": 0.01})
    status, channel = run_job(build_start(spec, dataset, tmp_path / "work"))
    assert status == 0
    runtime, (finished,) = channel.select_messages(RunStarted)[0].runtime, channel.select_messages(TrainingFinished)
    head = ["_fc.weight", "_fc.bias"]
    assert runtime["init"]["mismatched"] == head
    assert runtime["init"]["missing"] == runtime["init"]["unexpected"] == []
    assert len(runtime["init"]["loaded"]) == 294
    assert runtime["num_trainable_parameters"] == 3 * 1280 + 3
    assert [message.message for message in channel.select_messages(Log)] == [
        "Initial weights: 2 mismatched tensors: _fc.weight, _fc.bias."
    ]
    pretrained = registry.get_architecture("efficientnet_lite0").pretrained
    assert pretrained is not None
    trained, initial = load_file(Path(finished.dir) / "weights.safetensors"), pretrained.load_weights()
    changed = [name for name in trained if name not in head and not torch.equal(trained[name], initial[name])]
    assert changed == []  # including running statistics
    _, description = bundle.load_bundle(Path(finished.dir))
    assert description.mean == pytest.approx([127 / 255] * 3)
    assert description.std == pytest.approx([128 / 255] * 3)
    losses = [checkpoint.metrics["train_loss"] for checkpoint in channel.select_messages(CheckpointWritten)]
    assert losses[1] < losses[0]


def test_schedule_keeps_the_ratio_of_group_learning_rates(dataset: Path, tmp_path: Path) -> None:
    groups = [
        {"match": "_fc.*", "lr": 0.1},
        {"match": "_conv_stem.*", "lr": 0.0001},
        {"match": "_blocks.*", "lr": 0.001},
    ]
    spec = build_spec(
        **SPEC,
        optimizer={"name": "sgd", "lr": 0.01, "groups": groups},
        schedule={"name": "step", "step_size": 1, "gamma": 0.5},
    )
    run = build_run(
        spec,
        PackedDataset.open(dataset),
        cpu_placement(),
        load_initial_weights(build_start(spec, dataset, tmp_path / "work")),
    )
    names = {id(parameter): name for name, parameter in run.network.named_parameters()}

    def rates() -> dict[str, float]:
        return {names[id(p)]: group["lr"] for group in run.optimizer.param_groups for p in group["params"]}

    before = rates()
    assert before.keys() == set(names.values())
    expected = {"_fc": 0.1, "_conv_stem": 0.0001, "_blocks": 0.001}
    for name, rate in before.items():
        assert rate == expected.get(name.partition(".")[0], 0.01), name
    run.optimizer.step()  # without gradients this changes nothing
    for callback in run.callbacks:
        callback.on_epoch_end(run.state)
    assert rates() == {name: pytest.approx(rate / 2) for name, rate in before.items()}


def test_architecture_without_pretrained_weights_is_rejected(dataset: Path, tmp_path: Path) -> None:
    failed = run_to_failure(build_start(build_spec(weights="pretrained"), dataset, tmp_path / "work"))
    assert (failed.code, failed.message) == ("invalid_spec", "architecture 'convnet' has no pretrained weights")
