"""The end of a run measures only what no epoch has measured, and tells the same."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from core.datasets.packed import Packed
from core.errors import InvalidSpec
from tests.support.training import cpu, job, pack, run_of
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callbacks import KeepBest
from worker.engine.run import Run

TABLE = ["accuracy", "confusion_matrix"]
BEST = {"name": "keep_best", "monitor": "train_loss"}


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("packed") / "it", num_samples=60)


def trained(packed: Packed, **changes: Any) -> Run:
    run = build_run(job(epochs=3, **changes), packed, cpu())
    run.loop().fit(run.state)
    return run


def without_validation(run: Run) -> Run:
    """The same; whoever validates it fails."""
    return replace(run, valid_batches=None)  # type: ignore[arg-type]


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
def test_what_an_epoch_has_measured_of_the_weights_is_not_measured_again(packed: Packed, changes: Any) -> None:
    run = trained(packed, **changes)
    metrics = run.load_best_weights()
    known = without_validation(run).evaluate(known=metrics)
    assert known == run.evaluate()  # to the bit


def test_a_mean_that_no_epoch_has_seen_is_measured(packed: Packed) -> None:
    run = trained(packed, callbacks=[{"name": "swa", "start": 0.3}])
    metrics = run.load_best_weights()
    with pytest.raises(AttributeError):
        without_validation(run).evaluate(known=metrics)
    found = run.evaluate(known=metrics)["valid"]
    assert found == run.evaluate()["valid"]
    assert found["loss"] != metrics["valid_loss"]


def test_a_table_of_an_earlier_epoch_is_measured(packed: Packed) -> None:
    run = trained(packed, metrics=TABLE, callbacks=[BEST])
    assert isinstance(run.keep_best, KeepBest)
    run.keep_best.metrics = run.keep_best.metrics | {"train_loss": 0.5}  # as if it had been an earlier epoch
    metrics = run.load_best_weights()
    with pytest.raises(AttributeError):
        without_validation(run).evaluate(known=metrics)
    assert sum(map(sum, run.evaluate(known=metrics)["valid"]["confusion_matrix"])) == 6


@pytest.mark.parametrize("wanted", [["accuracy"], TABLE])
def test_an_attempt_that_only_ends_knows_numbers_and_measures_tables(
    packed: Packed, tmp_path: Path, wanted: list[str]
) -> None:
    first = trained(packed, metrics=wanted)
    snapshot.write(tmp_path / "snapshot", first.network, first.stateful_parts(), {})
    second = build_run(job(epochs=3, metrics=wanted), packed, cpu())
    snapshot.restore(tmp_path / "snapshot", second.network, second.stateful_parts(), torch.device("cpu"))
    second.loop().fit(second.state)
    metrics = second.load_best_weights()
    assert second.evaluate(known=metrics) == first.evaluate()
    if wanted != TABLE:
        assert without_validation(second).evaluate(known=metrics) == first.evaluate()


def test_metrics_are_measured_where_they_are_asked_for(tmp_path: Path) -> None:
    asked = [{"name": "accuracy", "on": "valid"}, {"name": "f1", "on": "train"}, {"name": "auroc", "average": "none"}]
    run = run_of(pack(tmp_path / "packed"), metrics=asked, epochs=1)
    run.loop().fit(run.state)
    assert run.state.metrics.keys() == {"train_loss", "train_f1", "valid_loss", "valid_accuracy"}
    found = run.evaluate()["valid"]
    assert found.keys() == {"loss", "accuracy", "auroc"}
    assert len(found["auroc"]) == 3
    for monitor in ("train_accuracy", "valid_f1", "valid_auroc"):
        with pytest.raises(InvalidSpec, match=f"{monitor!r} is no metric of this job"):
            run_of(pack(tmp_path / monitor), metrics=asked, callbacks=[{"name": "keep_best", "monitor": monitor}])
