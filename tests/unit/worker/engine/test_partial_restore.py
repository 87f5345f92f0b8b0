"""What a run takes over from another one's checkpoint: each part for itself, and all of them as one whole run."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from core.datasets.packed import Packed
from core.spec import JobSpec
from tests.support.training import InterruptAt, cpu, job, pack, weights_hash
from worker.builders import build_run
from worker.engine import snapshot
from worker.engine.callbacks import EarlyStopping, KeepBest, ModelCheckpoint
from worker.engine.partial_restore import IncompatibleCheckpoint, RestoreOptions, restore_partial
from worker.engine.run import Run

ALL = RestoreOptions(optimizer=True, callbacks=True, schedule=True, average=True, records=True)
STEADY = {"name": "convnet", "channels": [4], "batch_norm": True, "head": [8]}  # chance plays no part in it


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Packed:
    return pack(tmp_path_factory.mktemp("packed") / "it", num_samples=90)


def steady(**changes: Any) -> JobSpec:
    return job(**{"architecture": STEADY, "epochs": 4, "schedule": {"name": "one_cycle", "max_lr": 0.02}} | changes)


def left_by(spec: JobSpec, packed: Packed, folder: Path, *, step: int) -> Run:
    """A run that was left after a step, with its checkpoint in the folder."""
    run = build_run(spec, packed, cpu())
    run.loop([InterruptAt(step)]).fit(run.state)
    snapshot.write(folder, run.network, run.stateful_parts(), {})
    return run


def begun_with(spec: JobSpec, packed: Packed, left: Run) -> Run:
    return build_run(spec, packed, cpu(), {name: value.clone() for name, value in left.network.state_dict().items()})


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
def test_a_run_that_takes_over_all_ends_as_one_that_was_never_left(
    packed: Packed, tmp_path: Path, changes: dict[str, Any]
) -> None:
    spec = steady(**changes)
    whole = build_run(spec, packed, cpu())
    whole.loop().fit(whole.state)
    per_epoch = whole.state.steps_per_epoch
    left = build_run(spec, packed, cpu())
    left.state.max_epochs = 2
    left.loop().fit(left.state)
    assert left.state.step == 2 * per_epoch
    snapshot.write(tmp_path / "checkpoint", left.network, left.stateful_parts(), {})

    run = begun_with(spec, packed, left)
    restore_partial(run, tmp_path / "checkpoint", ALL)
    assert (run.state.epoch, run.state.step) == (2, 2 * per_epoch)
    run.loop().fit(run.state)
    assert run.state.metrics == whole.state.metrics
    assert run.state.step == whole.state.step
    for each in (run, whole):
        each.load_best_weights()
    assert weights_hash(run.network, tmp_path) == weights_hash(whole.network, tmp_path)


def test_an_epoch_that_was_left_in_the_middle_is_made_anew(packed: Packed, tmp_path: Path) -> None:
    left = left_by(steady(), packed, tmp_path / "checkpoint", step=7)
    assert left.state.steps_per_epoch == 5
    run = begun_with(steady(), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions(records=True)) == ["records"]
    assert (run.state.epoch, run.state.step, run.state.phase) == (1, 5, "end")
    assert run.state.metrics == left.state.metrics
    run.loop().fit(run.state)
    assert (run.state.epoch, run.state.step) == (4, 20)


def test_the_optimizer_goes_on_with_its_moments_and_the_new_learning_rate(packed: Packed, tmp_path: Path) -> None:
    left = left_by(steady(), packed, tmp_path / "checkpoint", step=5)
    run = begun_with(steady(schedule=None, optimizer={"name": "adam", "lr": 0.007}), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions(optimizer=True)) == ["optimizer"]
    (group,) = run.optimizer.param_groups
    assert (group["lr"], group["betas"]) == (0.007, (0.9, 0.999))
    pairs = zip(run.optimizer.param_groups[0]["params"], left.optimizer.param_groups[0]["params"], strict=True)
    for mine, theirs in pairs:
        for name in ("exp_avg", "exp_avg_sq", "step"):
            assert torch.equal(run.optimizer.state[mine][name], left.optimizer.state[theirs][name])
    assert (run.state.epoch, run.state.step) == (0, 0)


def test_callbacks_go_on_by_their_names_and_their_order(packed: Packed, tmp_path: Path) -> None:
    stops = [{"name": "early_stopping", "patience": 9}, {"name": "early_stopping", "patience": 8}]
    left = build_run(steady(callbacks=[*stops, {"name": "model_checkpoint"}]), packed, cpu())
    left.loop().fit(left.state)
    left.callbacks[1]._waited, left.callbacks[2]._waited = 4, 2  # type: ignore[attr-defined]  # both early stopping
    snapshot.write(tmp_path / "checkpoint", left.network, left.stateful_parts(), {})
    asked = [{"name": "keep_best"}, stops[1], {"name": "model_checkpoint", "keep": 3}]
    run = begun_with(steady(schedule={"name": "cosine"}, callbacks=asked), packed, left)
    names = restore_partial(run, tmp_path / "checkpoint", RestoreOptions(callbacks=True))
    assert names == ["EarlyStopping", "ModelCheckpoint"]
    of_kind = {type(callback): callback for callback in run.callbacks}
    stop, kept, best = of_kind[EarlyStopping], of_kind[ModelCheckpoint], of_kind[KeepBest]
    assert isinstance(stop, EarlyStopping)
    assert isinstance(kept, ModelCheckpoint)
    assert isinstance(best, KeepBest)
    assert (stop._waited, stop._patience) == (4, 8)
    assert kept._record.best is not None
    assert kept._kept == []  # the other run's epochs are not this one's
    assert best.weights == {}
    assert run.optimizer.param_groups[0]["lr"] == 0.001  # the schedule is another, and begins anew


def test_what_does_not_fit_is_told(packed: Packed, tmp_path: Path) -> None:
    left_by(steady(), packed, tmp_path / "checkpoint", step=5)
    other = build_run(steady(architecture={"name": "mlp"}), packed, cpu())
    with pytest.raises(IncompatibleCheckpoint, match="remembers what does not fit"):
        restore_partial(other, tmp_path / "checkpoint", RestoreOptions(optimizer=True))


def test_weights_alone_begin_a_run_of_their_own(packed: Packed, tmp_path: Path) -> None:
    left = left_by(steady(), packed, tmp_path / "checkpoint", step=5)
    run = begun_with(steady(), packed, left)
    assert restore_partial(run, tmp_path / "checkpoint", RestoreOptions()) == []
    assert nn.utils.parameters_to_vector(run.network.parameters()).equal(
        nn.utils.parameters_to_vector(left.network.parameters())
    )
    assert not run.optimizer.state
