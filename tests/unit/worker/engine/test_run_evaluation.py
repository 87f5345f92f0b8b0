"""Tests that the end of a run evaluates only what no epoch has measured, with equal results."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.datasets.packed import PackedDataset
from core.errors import InvalidSpec
from tests.support.training import build_small_run, build_spec, cpu_placement, pack
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callbacks import KeepBest
from worker.engine.run import Run

pytestmark = pytest.mark.packed(num_samples=60)

TABLE = ["accuracy", "confusion_matrix"]
BEST = {"name": "keep_best", "monitor": "train_loss"}


def train_run(packed: PackedDataset, **changes: Any) -> Run:
    run = build_run(build_spec(epochs=3, **changes), packed, cpu_placement())
    run.build_loop().fit(run.state)
    return run


def forbid_validation(run: Run) -> Run:
    """Return the same run with validation data that raises an error."""
    return replace(run, valid_batches=object())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"metrics": TABLE},
        {"callbacks": [{"name": "ema", "decay": 0.9}], "metrics": TABLE},
        {"callbacks": [{"name": "lookahead", "k": 2}]},
        {"callbacks": [BEST]},
        {"callbacks": [BEST | {"monitor": "valid_loss", "mode": "max"}]},  # the best epoch is an earlier one
        {"callbacks": [{"name": "ema"}, BEST]},
        {"precision": "bf16"},
    ],
    ids=str,
)
def test_metrics_from_the_epoch_are_reused_again(packed: PackedDataset, changes: Any) -> None:
    run = train_run(packed, **changes)
    metrics = run.load_best_weights()
    epoch_metrics = forbid_validation(run).evaluate(epoch_metrics=metrics)
    assert epoch_metrics == run.evaluate()  # bit-identical


def test_average_without_validation_requires_evaluation(packed: PackedDataset) -> None:
    run = train_run(packed, callbacks=[{"name": "swa", "start": 0.3}])
    metrics = run.load_best_weights()
    with pytest.raises(AttributeError):
        forbid_validation(run).evaluate(epoch_metrics=metrics)
    found = run.evaluate(epoch_metrics=metrics)["valid"]
    assert found == run.evaluate()["valid"]
    assert found["loss"] != metrics["valid_loss"]


def test_table_from_an_earlier_epoch_requires_evaluation(packed: PackedDataset) -> None:
    run = train_run(packed, metrics=TABLE, callbacks=[BEST])
    assert isinstance(run.keep_best, KeepBest)
    run.keep_best.metrics = run.keep_best.metrics | {"train_loss": 0.5}  # as after an earlier epoch
    metrics = run.load_best_weights()
    with pytest.raises(AttributeError):
        forbid_validation(run).evaluate(epoch_metrics=metrics)
    assert sum(map(sum, run.evaluate(epoch_metrics=metrics)["valid"]["confusion_matrix"])) == 6


@pytest.mark.parametrize("expected", [["accuracy"], TABLE])
def test_resumed_finished_run_reuses_numbers_and_evaluates_tables(
    packed: PackedDataset, tmp_path: Path, expected: list[str]
) -> None:
    first = train_run(packed, metrics=expected)
    snapshot.write_snapshot(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(build_spec(epochs=3, metrics=expected), packed, cpu_placement())
    snapshot.restore_snapshot(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.build_loop().fit(second.state)
    metrics = second.load_best_weights()
    assert second.evaluate(epoch_metrics=metrics) == first.evaluate()
    if expected != TABLE:
        assert forbid_validation(second).evaluate(epoch_metrics=metrics) == first.evaluate()


def test_metrics_follow_the_requested_splits(tmp_path: Path) -> None:
    requested = [
        {"name": "accuracy", "on": "valid"},
        {"name": "f1", "on": "train"},
        {"name": "auroc", "average": "none"},
    ]
    run = build_small_run(pack(tmp_path / "packed"), metrics=requested, epochs=1)
    run.build_loop().fit(run.state)
    assert run.state.metrics.keys() == {"train_loss", "train_f1", "valid_loss", "valid_accuracy"}
    found = run.evaluate()["valid"]
    assert found.keys() == {"loss", "accuracy", "auroc"}
    assert len(found["auroc"]) == 3
    for monitor in ("train_accuracy", "valid_f1", "valid_auroc"):
        with pytest.raises(InvalidSpec, match=f"{monitor!r} is not a metric of this job"):
            build_small_run(
                pack(tmp_path / monitor), metrics=requested, callbacks=[{"name": "keep_best", "monitor": monitor}]
            )
