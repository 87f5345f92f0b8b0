"""A snapshot holds everything: a run that was stopped ends with the weights of one that never was."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import Packed
from tests.support.training import InterruptAt, Memory, cpu, job, optimizer_hash, pack, weights_hash
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callback import Callback
from worker.engine.device import Precision
from worker.engine.run import Run
from worker.engine.snapshot_checksums import BadSnapshot
from worker.trainer.callbacks import MetricsCallback

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


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("packed") / "it", num_samples=150)


class Facts:
    """What two runs must have in common to the bit."""

    def __init__(self, run: Run, channel: Memory, folder: Path) -> None:
        self.weights = weights_hash(run.network, folder)
        self.optimizer = optimizer_hash(run.optimizer)
        self.metrics = run.state.metrics
        self.points = channel.points()
        self.best = {} if run.keep_best is None else {k: v.tolist() for k, v in run.keep_best.weights.items()}


def train(run: Run, channel: Memory, *others: Callback) -> None:
    run.loop((MetricsCallback(channel, run, every_s=0.0), *others)).fit(run.state)


MID_EPOCH, EPOCH_END, LATER = 3, 8, 11  # steps, of 8 an epoch
PLACES: list[tuple[Precision, int, str]] = [
    *((precision, step, "adam") for precision in ("fp32", "bf16") for step in (MID_EPOCH, EPOCH_END, LATER)),
    *(("bf16", LATER, name) for name in ("sgd", "rmsprop", "adagrad", "adadelta", "adamw")),
    *(("fp32", LATER, name) for name in ("asgd", "rprop", "nadam", "radam", "adamax", "adafactor", "muon", "lbfgs")),
    ("fp16", LATER, "adam"),
]


@pytest.mark.parametrize(("precision", "step", "optimizer"), PLACES)
def test_a_resumed_run_is_equal_to_the_bit(
    packed: Packed, tmp_path: Path, precision: Precision, step: int, optimizer: str
) -> None:
    momentum: dict[str, Any] = {"momentum": 0.9} if optimizer in {"sgd", "rmsprop"} else {}
    cycle = {} if optimizer in {"adam", "adamw", "sgd", "rmsprop"} else {"schedule": None}
    if optimizer == "lbfgs":
        cycle |= {"callbacks": EVERYTHING["callbacks"][:2]}
        momentum = {"max_iter": 3, "history_size": 4}
    spec = job(**EVERYTHING | {"optimizer": {"name": optimizer, **momentum}} | cycle)
    whole, channel = build_run(spec, packed, cpu(precision)), Memory()
    train(whole, channel)
    expected = Facts(whole, channel, tmp_path)

    first, channel = build_run(spec, packed, cpu(precision)), Memory()
    train(first, channel, InterruptAt(step))
    assert first.state.step == step
    snapshot.write(tmp_path / "snapshot", first.network, first.stateful_parts(), {"threads": 1})

    second = build_run(spec, packed, cpu(precision))
    torch.rand(100)  # whatever happened to the random state since
    snapshot.restore(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    train(second, channel)
    found = Facts(second, channel, tmp_path)
    assert vars(found) == vars(expected)


def test_the_same_seed_gives_the_same_run_and_another_one_another(packed: Packed, tmp_path: Path) -> None:
    hashes = []
    for seed in (1, 1, 2):
        run = build_run(job(**EVERYTHING | {"seed": seed, "epochs": 1}), packed, cpu())
        run.loop().fit(run.state)
        hashes.append(weights_hash(run.network, tmp_path))
    assert hashes[0] == hashes[1] != hashes[2]


class Part:
    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    def state_dict(self) -> dict[str, Any]:
        return self.state

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.state = saved


@pytest.fixture
def written(tmp_path: Path) -> Path:
    snapshot.write(tmp_path / "it", nn.Linear(1, 1), {"part": Part({"x": torch.ones(2)})}, {"threads": 2})
    return tmp_path / "it"


def test_any_nesting_comes_back_as_it_was(tmp_path: Path) -> None:
    state: dict[str, Any] = {
        "state": {0: {"step": torch.tensor(3.0)}, 1: {"step": torch.tensor(4.0)}},
        "groups": [{"betas": (0.9, 0.999), "fused": True, "maximize": None, "lr": 0.1 + 0.2}],
        "best": float("inf"),
        "empty": {},
        "$odd": "words",
    }
    before, after = Part(state), Part({})
    snapshot.write(tmp_path / "it", nn.Linear(1, 1), {"part": before}, {})
    snapshot.restore(tmp_path / "it", nn.Linear(1, 1), {"part": after}, torch.device("cpu"))
    assert after.state == state


def test_it_says_the_hash_of_what_is_on_the_disk(written: Path, tmp_path: Path) -> None:
    network = nn.Linear(1, 1)
    facts = snapshot.write(tmp_path / "other", network, {}, {})
    assert facts["weights.safetensors"][0] == weights_hash(network, tmp_path)
    assert {name: (tmp_path / "other" / name).stat().st_size for name in facts} == {k: v[1] for k, v in facts.items()}
    assert snapshot.read_metadata(written) == {"threads": 2}


def test_what_no_snapshot_can_hold_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"part\.x is a object"):
        snapshot.write(tmp_path / "it", nn.Linear(1, 1), {"part": Part({"x": object()})}, {})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "_write_json", full)
    with pytest.raises(OSError, match="No space left"):
        snapshot.write(tmp_path / "it", nn.Linear(1, 1), {}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["weights.safetensors", "state.safetensors", "snapshot.json"])
def test_a_damaged_file_is_told(written: Path, name: str) -> None:
    (written / name).write_bytes((written / name).read_bytes()[:-3])
    with pytest.raises(BadSnapshot):
        snapshot.restore(written, nn.Linear(1, 1), {"part": Part({})}, torch.device("cpu"))


def test_another_runs_snapshot_is_refused(written: Path) -> None:
    with pytest.raises(BadSnapshot, match=r"holds \['part'\]; this run has \['other'\]"):
        snapshot.restore(written, nn.Linear(1, 1), {"other": Part({})}, torch.device("cpu"))
    with pytest.raises(BadSnapshot, match="size mismatch"):
        snapshot.restore(written, nn.Linear(2, 1), {"part": Part({})}, torch.device("cpu"))


def test_an_unknown_format_is_refused(written: Path) -> None:
    document = json.loads((written / "snapshot.json").read_text())
    (written / "snapshot.json").write_text(json.dumps(document | {"format_version": 99}))
    with pytest.raises(BadSnapshot, match="format 99"):
        snapshot.read_metadata(written)


def test_restored_optimizer_state_lies_like_its_parameters(packed: Packed, tmp_path: Path) -> None:
    spec = job()
    run = build_run(spec, packed, cpu())
    run.loop().fit(run.state)
    snapshot.write(tmp_path / "it", run.network, run.stateful_parts(), {})
    again = build_run(spec, packed, cpu())
    snapshot.restore(tmp_path / "it", again.network, again.stateful_parts(), torch.device("cpu"))
    for parameter, state in again.optimizer.state.items():
        assert state["exp_avg"].stride() == parameter.stride()
