"""Tests of restoring parts of another run's checkpoint, one by one and all together."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import PackedDataset
from core.spec import JobSpec
from tests.support.training import InterruptAt, build_spec, cpu_placement, hash_weights
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callbacks import EarlyStopping, KeepBest, ModelCheckpoint
from worker.engine.partial_restore import IncompatibleCheckpoint, RestoreOptions, restore_partial
from worker.engine.run import Run

ALL = RestoreOptions(optimizer=True, callbacks=True, schedule=True, average=True, records=True)
STEADY = {"name": "convnet", "channels": [4], "batch_norm": True, "head": [8]}  # nothing is random


def build_steady_job(**changes: Any) -> JobSpec:
    return build_spec(
        **{"architecture": STEADY, "epochs": 4, "schedule": {"name": "one_cycle", "max_lr": 0.02}} | changes
    )


def write_interrupted_snapshot(spec: JobSpec, packed: PackedDataset, folder: Path, *, step: int) -> Run:
    """Write the snapshot of a run that is interrupted after a step, and return the run."""
    run = build_run(spec, packed, cpu_placement())
    run.build_loop([InterruptAt(step)]).fit(run.state)
    snapshot.write_snapshot(folder, run.network, run.stateful_parts(), {})
    return run


def build_restored_run(spec: JobSpec, packed: PackedDataset, left: Run) -> Run:
    return build_run(
        spec, packed, cpu_placement(), {name: value.clone() for name, value in left.network.state_dict().items()}
    )


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"schedule": {"name": "step", "step_size": 1, "gamma": 0.5}},
        {
            "schedule": {"name": "plateau", "patience": 0},
            "optimizer": {"name": "sgd", "momentum": 0.9, "nesterov": True},
        },
        {"schedule": None, "optimizer": {"name": "muon"}, "callbacks": [{"name": "ema", "decay": 0.9}]},
        {"schedule": {"name": "cosine"}, "callbacks": [{"name": "lookahead", "k": 3}, {"name": "keep_best"}]},
        {
            "optimizer": {
                "name": "several",
                "parts": [
                    {"match": "head.*", "optimizer": {"name": "muon"}},
                    {"match": "*weight", "optimizer": {"name": "sgd", "momentum": 0.9}},
                    {"match": "*", "optimizer": {"name": "adam"}},
                ],
            }
        },
        {"callbacks": [{"name": "swa", "start": 0.5}, {"name": "early_stopping", "patience": 1}]},
    ],
    ids=["one cycle", "steps", "plateau", "muon and ema", "lookahead", "several", "swa"],
)
def test_full_restore_ends_with_the_weights_from_an_uninterrupted_run(
    packed: PackedDataset, tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = build_steady_job(**changes)
    whole = build_run(spec, packed, cpu_placement())
    whole.build_loop().fit(whole.state)
    per_epoch = whole.state.steps_per_epoch
    left = build_run(spec, packed, cpu_placement())
    left.state.max_epochs = 2
    left.build_loop().fit(left.state)
    assert left.state.step == 2 * per_epoch
    snapshot.write_snapshot(tmp_path / "checkpoint", left.network, left.stateful_parts(), {})

    run = build_restored_run(spec, packed, left)
    restore_partial(run, tmp_path / "checkpoint", ALL)
    assert (run.state.epoch, run.state.step) == (2, 2 * per_epoch)
    run.build_loop().fit(run.state)
    assert run.state.metrics == whole.state.metrics
    assert run.state.step == whole.state.step
    for each in (run, whole):
        each.load_best_weights()
    assert hash_weights(run.network, tmp_path) == hash_weights(whole.network, tmp_path)


def test_interrupted_epoch_starts_again(packed: PackedDataset, tmp_path: Path) -> None:
    left = write_interrupted_snapshot(build_steady_job(), packed, tmp_path / "checkpoint", step=7)
    assert left.state.steps_per_epoch == 5
    run = build_restored_run(build_steady_job(), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions(records=True)) == ["records"]
    assert (run.state.epoch, run.state.step, run.state.phase) == (1, 5, "end")
    assert run.state.metrics == left.state.metrics
    run.build_loop().fit(run.state)
    assert (run.state.epoch, run.state.step) == (4, 20)


def test_optimizer_keeps_its_moments_and_takes_the_new_learning_rate(packed: PackedDataset, tmp_path: Path) -> None:
    left = write_interrupted_snapshot(build_steady_job(), packed, tmp_path / "checkpoint", step=5)
    run = build_restored_run(build_steady_job(schedule=None, optimizer={"name": "adam", "lr": 0.007}), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions(optimizer=True)) == ["optimizer"]
    (group,) = run.optimizer.param_groups
    assert (group["lr"], group["betas"]) == (0.007, (0.9, 0.999))
    pairs = zip(run.optimizer.param_groups[0]["params"], left.optimizer.param_groups[0]["params"], strict=True)
    for mine, theirs in pairs:
        for name in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(run.optimizer.state[mine][name], left.optimizer.state[theirs][name])
    assert (run.state.epoch, run.state.step) == (0, 0)


def test_callback_states_are_matched_by_class_and_order(packed: PackedDataset, tmp_path: Path) -> None:
    stops = [{"name": "early_stopping", "patience": 9}, {"name": "early_stopping", "patience": 8}]
    left = build_run(build_steady_job(callbacks=[*stops, {"name": "model_checkpoint"}]), packed, cpu_placement())
    left.build_loop().fit(left.state)
    left.callbacks[1]._num_bad_epochs, left.callbacks[2]._num_bad_epochs = 4, 2  # type: ignore[attr-defined]  # both early stopping
    snapshot.write_snapshot(tmp_path / "checkpoint", left.network, left.stateful_parts(), {})
    requested = [{"name": "keep_best"}, stops[1], {"name": "model_checkpoint", "keep": 3}]
    run = build_restored_run(build_steady_job(schedule={"name": "cosine"}, callbacks=requested), packed, left)
    names = restore_partial(run, tmp_path / "checkpoint", RestoreOptions(callbacks=True))
    assert names == ["EarlyStopping", "ModelCheckpoint"]
    of_kind = {type(callback): callback for callback in run.callbacks}
    stop, checkpoint_callback, best = of_kind[EarlyStopping], of_kind[ModelCheckpoint], of_kind[KeepBest]
    assert isinstance(stop, EarlyStopping)
    assert isinstance(checkpoint_callback, ModelCheckpoint)
    assert isinstance(best, KeepBest)
    assert (stop._num_bad_epochs, stop._patience) == (4, 8)
    assert checkpoint_callback._best_metric.best is not None
    assert checkpoint_callback._retained_epochs == []  # the other run's epochs are not this one's
    assert best.weights == {}
    assert run.optimizer.param_groups[0]["lr"] == 0.001  # another schedule starts from its beginning


def test_incompatible_checkpoint_raises_error(packed: PackedDataset, tmp_path: Path) -> None:
    write_interrupted_snapshot(build_steady_job(), packed, tmp_path / "checkpoint", step=5)
    other = build_run(build_steady_job(architecture={"name": "mlp"}), packed, cpu_placement())
    with pytest.raises(IncompatibleCheckpoint, match="does not fit this run"):
        restore_partial(other, tmp_path / "checkpoint", RestoreOptions(optimizer=True))


def test_weights_alone_start_an_independent_run(packed: PackedDataset, tmp_path: Path) -> None:
    left = write_interrupted_snapshot(build_steady_job(), packed, tmp_path / "checkpoint", step=5)
    run = build_restored_run(build_steady_job(), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions()) == []
    assert nn.utils.parameters_to_vector(run.network.parameters()).equal(
        nn.utils.parameters_to_vector(left.network.parameters())
    )
    assert not run.optimizer.state
