"""Tests that a resumed run ends with the weights of an uninterrupted one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset
from tests.support.training import (
    InterruptAt,
    RecordingChannel,
    build_spec,
    cpu_placement,
    hash_optimizer,
    hash_weights,
)
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.device import Precision
from worker.engine.run import Run
from worker.engine.snapshot_checksums import BadSnapshot
from worker.trainer.callbacks import MetricsCallback

pytestmark = pytest.mark.packed(num_samples=150)

EVERYTHING: dict[str, Any] = {
    "dataset": {
        "name": "synthetic",
        "train_transforms": [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 15, "translate": 0.1}],
    },
    "schedule": {"name": "one_cycle", "max_lr": 0.02},
    "metrics": ["accuracy", "auroc"],
    "epochs": 3,
    "callbacks": [
        {"name": "early_stopping", "patience": 2},
        {"name": "keep_best"},
        {"name": "gradient_clip", "max_norm": 1.0},
    ],
}


class RunResult:
    """What two runs must have in common bit for bit."""

    def __init__(self, run: Run, channel: RecordingChannel, folder: Path) -> None:
        self.weights = hash_weights(run.network, folder)
        self.optimizer = hash_optimizer(run.optimizer)
        self.metrics = run.state.metrics
        self.points = channel.collect_points()
        self.best = {} if run.keep_best is None else {k: v.tolist() for k, v in run.keep_best.weights.items()}


def train(run: Run, channel: RecordingChannel, *others: Callback) -> None:
    run.build_loop((MetricsCallback(channel, run, every_s=0.0), *others)).fit(run.state)


MID_EPOCH, EPOCH_END, LATER = 3, 8, 11  # steps; an epoch has 8
PLACES: list[tuple[Precision, int, str]] = [
    *((precision, step, "adam") for precision in ("fp32", "bf16") for step in (MID_EPOCH, EPOCH_END, LATER)),
    *(("bf16", LATER, name) for name in ("sgd", "rmsprop", "adagrad", "adadelta", "adamw")),
    *(("fp32", LATER, name) for name in ("asgd", "rprop", "nadam", "radam", "adamax", "adafactor", "muon", "lbfgs")),
    ("fp16", LATER, "adam"),
]


@pytest.mark.parametrize(("precision", "step", "optimizer"), PLACES)
def test_resumed_run_is_bit_identical(
    packed: PackedDataset, tmp_path: Path, precision: Precision, step: int, optimizer: str
) -> None:
    momentum: dict[str, Any] = {"momentum": 0.9} if optimizer in {"sgd", "rmsprop"} else {}
    cycle = {} if optimizer in {"adam", "adamw", "sgd", "rmsprop"} else {"schedule": None}
    if optimizer == "lbfgs":
        cycle |= {"callbacks": EVERYTHING["callbacks"][:2]}
        momentum = {"max_iter": 3, "history_size": 4}
    spec = build_spec(**EVERYTHING | {"optimizer": {"name": optimizer, **momentum}} | cycle)
    whole, channel = build_run(spec, packed, cpu_placement(precision)), RecordingChannel()
    train(whole, channel)
    expected = RunResult(whole, channel, tmp_path)

    first, channel = build_run(spec, packed, cpu_placement(precision)), RecordingChannel()
    train(first, channel, InterruptAt(step))
    assert first.state.step == step
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {"threads": 1})

    second = build_run(spec, packed, cpu_placement(precision))
    torch.rand(100)  # another random state before restoring
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    train(second, channel)
    found = RunResult(second, channel, tmp_path)
    assert vars(found) == vars(expected)


def test_run_depends_on_the_seed(packed: PackedDataset, tmp_path: Path) -> None:
    hashes = []
    for seed in (1, 1, 2):
        run = build_run(build_spec(**EVERYTHING | {"seed": seed, "epochs": 1}), packed, cpu_placement())
        run.build_loop().fit(run.state)
        hashes.append(hash_weights(run.network, tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


class Part:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.state = saved


@pytest.fixture
def snapshot_folder(tmp_path: Path) -> Path:
    snapshot.write_snapshot(tmp_path / "it", nn.Linear(1, 1), {"part": Part({"x": torch.ones(2)})}, {"threads": 2})
    return tmp_path / "it"


def test_nested_state_survives_a_round_trip(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}},
        "groups": [{"betas": (0.9, 0.999), "fused": True, "maximize": None, "lr": 0.1 + 0.2}],
        "best": float("inf"),
        "empty": {},
        "$odd": "words",
    }
    before, after = Part(state), Part({})
    snapshot.write_snapshot(tmp_path / "it", nn.Linear(1, 1), {"part": before}, {})
    snapshot.restore_snapshot(tmp_path / "it", nn.Linear(1, 1), {"part": after}, torch.device("cpu"))
    assert after.state == state


def test_returned_hashes_match_the_files(snapshot_folder: Path, tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    digests = snapshot.write_snapshot(tmp_path / "other", network, {}, {})
    assert digests["weights.safetensors"][0] == hash_weights(network, tmp_path)
    assert {name: (tmp_path / "other" / name).stat().st_size for name in digests} == {
        k: v[1] for k, v in digests.items()
    }
    assert snapshot.read_metadata(snapshot_folder) == {"threads": 2}


def test_unsupported_state_leaves_no_files(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"part\.x is a object"):
        snapshot.write_snapshot(tmp_path / "it", nn.Linear(1, 1), {"part": Part({"x": object()})}, {})
    assert list(tmp_path.iterdir()) == []


def test_failing_write_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "_write_json", full)
    with pytest.raises(OSError, match="No space left"):
        snapshot.write_snapshot(tmp_path / "it", nn.Linear(1, 1), {}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "snapshot.json"])
def test_damaged_file_raises_bad_snapshot(snapshot_folder: Path, name: str) -> None:
    (snapshot_folder / name).write_bytes((snapshot_folder / name).read_bytes()[:-3])
    with pytest.raises(BadSnapshot):
        snapshot.restore_snapshot(snapshot_folder, nn.Linear(1, 1), {"part": Part({})}, torch.device("cpu"))


def test_snapshot_from_another_run_raises_bad_snapshot(snapshot_folder: Path) -> None:
    with pytest.raises(BadSnapshot, match=r"holds \['part'\]; this run has \['other'\]"):
        snapshot.restore_snapshot(snapshot_folder, nn.Linear(1, 1), {"other": Part({})}, torch.device("cpu"))
    with pytest.raises(BadSnapshot, match="size mismatch"):
        snapshot.restore_snapshot(snapshot_folder, nn.Linear(2, 1), {"part": Part({})}, torch.device("cpu"))


def test_unknown_format_raises_bad_snapshot(snapshot_folder: Path) -> None:
    document = json.loads((snapshot_folder / "snapshot.json").read_text())
    (snapshot_folder / "snapshot.json").write_text(json.dumps(document | {"format_version": 99}))
    with pytest.raises(BadSnapshot, match="format version 99"):
        snapshot.read_metadata(snapshot_folder)


def test_restored_optimizer_state_has_the_parameter_layout(packed: PackedDataset, tmp_path: Path) -> None:
    spec = build_spec()
    run = build_run(spec, packed, cpu_placement())
    run.build_loop().fit(run.state)
    snapshot.write_snapshot(tmp_path / "it", run.network, run.stateful_parts(), {})
    again = build_run(spec, packed, cpu_placement())
    snapshot.restore_snapshot(tmp_path / "it", again.network, again.stateful_parts(), torch.device("cpu"))
    for parameter, state in again.optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()
