"""Trainings that stop at milestones: exactly there, and to the same weights as without milestones."""

from pathlib import Path
from typing import Any

import pytest

from core.jobs import StopMode
from core.spec import JobSpec
from tests.support.trainer import TrainerProcess, build_start, run_job
from tests.support.training import RecordingChannel, build_spec
from worker.engine.snapshot_checksums import find_latest_valid
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    MilestoneReached,
    RunStopped,
    TrainerMessage,
    TrainingFinished,
)

EPOCHS = 6
MILESTONES = {"epochs": [1, 3, EPOCHS]}
AUGMENTED = {"name": "synthetic", "train_transforms": [{"name": "horizontal_flip"}, {"name": "affine", "degrees": 9.0}]}
CASES: dict[str, dict[str, Any]] = {
    "plain": {},
    "one_cycle": {"schedule": {"name": "one_cycle", "max_lr": 0.02}},
    "cosine": {"schedule": {"name": "cosine"}, "optimizer": {"name": "sgd", "lr": 0.1, "momentum": 0.9}},
    "plateau": {"schedule": {"name": "plateau", "patience": 0, "threshold": 0.5}},
    "early_stopping": {"callbacks": [{"name": "early_stopping", "patience": 1, "min_delta": 10.0}]},
    "keep_best": {"callbacks": [{"name": "keep_best", "monitor": "valid_accuracy"}]},
    "ema": {"callbacks": [{"name": "ema", "decay": 0.9}, {"name": "keep_best"}]},
    "swa": {"callbacks": [{"name": "swa", "start": 0.2}]},
}


def get_weights(channel: RecordingChannel) -> str:
    (finished,) = channel.select_messages(TrainingFinished)
    return str(finished.files["weights.safetensors"].sha256)


def get_last_checkpoint(channel: RecordingChannel) -> CheckpointWritten:
    checkpoint: CheckpointWritten = channel.select_messages(CheckpointWritten)[-1]
    return checkpoint


def run_with_pauses(spec: JobSpec, dataset: Path, folder: Path) -> tuple[list[int], RecordingChannel]:
    """Run a training as the supervisor does. Return the milestones at which it stopped, and the last channel."""
    reached: list[int] = []
    changes: dict[str, Any] = {"milestone_epoch": 0}
    while True:
        status, channel = run_job(build_start(spec, dataset, folder / str(len(reached)), **changes))
        last = channel.messages[-1]
        if not isinstance(last, MilestoneReached):
            assert status == 0, last
            return reached, channel
        assert (status, get_last_checkpoint(channel).epoch) == (EXIT_STOPPED, last.epoch)
        reached.append(last.epoch)
        changes = {"milestone_epoch": last.epoch, "resume_dir": get_last_checkpoint(channel).dir}


@pytest.mark.parametrize("case", CASES)
def test_a_training_with_milestones_has_the_weights_of_an_uninterrupted_one(
    case: str, dataset: Path, tmp_path: Path
) -> None:
    fields = {"epochs": EPOCHS, "dataset": AUGMENTED, **CASES[case]}
    status, whole = run_job(build_start(build_spec(**fields), dataset, tmp_path / "whole"))
    assert status == 0
    reached, last = run_with_pauses(build_spec(**fields, milestones=MILESTONES), dataset, tmp_path)
    assert reached == ([1] if case == "early_stopping" else [1, 3])
    assert get_weights(last) == get_weights(whole)
    assert last.select_messages(TrainingFinished)[0].metrics == whole.select_messages(TrainingFinished)[0].metrics


def test_early_stopping_at_a_milestone_completes_the_training(dataset: Path, tmp_path: Path) -> None:
    callbacks = [{"name": "early_stopping", "patience": 1, "min_delta": 10.0}]
    spec = build_spec(epochs=EPOCHS, callbacks=callbacks, milestones={"epochs": [2]})
    reached, channel = run_with_pauses(spec, dataset, tmp_path)
    assert (reached, get_last_checkpoint(channel).epoch) == ([], 2)


def test_a_finish_at_a_milestone_completes_the_training(dataset: Path, tmp_path: Path) -> None:
    start = build_start(build_spec(epochs=EPOCHS, milestones={"epochs": [1]}), dataset, tmp_path / "work")
    status, channel = run_job(start, StopMode.FINISH)
    assert (status, channel.select_messages(TrainingFinished)[0].stop_reason) == (0, "user_finished")
    assert get_last_checkpoint(channel).epoch == 1


def test_a_pause_within_an_epoch_is_no_milestone(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=EPOCHS, milestones={"epochs": [1]})
    status, channel = run_job(build_start(spec, dataset, tmp_path / "work"), StopMode.PAUSE)
    assert (status, channel.messages[-1]) == (EXIT_STOPPED, RunStopped(mode=StopMode.PAUSE))


def test_a_training_killed_after_the_snapshot_of_a_milestone_stops_there_again(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=EPOCHS, milestones=MILESTONES)
    _, first = run_job(build_start(spec, dataset, tmp_path / "first", milestone_epoch=0))
    snapshot = get_last_checkpoint(first)
    start = build_start(spec, dataset, tmp_path / "again", milestone_epoch=0, resume_dir=snapshot.dir)
    status, again = run_job(start)
    assert (status, again.messages[-1]) == (EXIT_STOPPED, MilestoneReached(epoch=1))
    stored = get_last_checkpoint(again)
    assert (stored.step, stored.files["weights.safetensors"]) == (snapshot.step, snapshot.files["weights.safetensors"])


def test_a_finish_completes_a_training_that_is_restored_at_a_milestone(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=EPOCHS, milestones=MILESTONES)
    _, first = run_job(build_start(spec, dataset, tmp_path / "first", milestone_epoch=0))
    resume_dir = get_last_checkpoint(first).dir
    start = build_start(spec, dataset, tmp_path / "again", milestone_epoch=0, resume_dir=resume_dir)
    status, channel = run_job(start, StopMode.FINISH)
    assert (status, channel.select_messages(TrainingFinished)[0].stop_reason) == (0, "user_finished")
    assert channel.select_messages(CheckpointWritten) == []  # no further epoch


def test_an_extended_training_continues_past_its_last_milestone(dataset: Path, tmp_path: Path) -> None:
    milestones = {"epochs": [2, 3]}
    status, first = run_job(build_start(build_spec(epochs=2, milestones=milestones), dataset, tmp_path / "first"))
    assert status == 0
    resume_dir = get_last_checkpoint(first).dir
    spec = build_spec(epochs=4, milestones=milestones)
    start = build_start(spec, dataset, tmp_path / "more", milestone_epoch=0, resume_dir=resume_dir)
    _, more = run_job(start)
    assert more.messages[-1] == MilestoneReached(epoch=3)


def run_process(spec: JobSpec, dataset: Path, work_dir: Path, **changes: Any) -> TrainerMessage:
    """Run a training in processes of its own and return its last message."""
    process = TrainerProcess()
    try:
        process.send(build_start(spec, dataset, work_dir, lease_s=600.0, **changes))
        status = process.wait(300)
        last = process.messages[-1]
        assert status == (0 if isinstance(last, TrainingFinished) else EXIT_STOPPED), process.read_errors()
        return last
    finally:
        process.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_ranks_stop_at_milestones_and_have_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    fields: dict[str, Any] = {"epochs": 2, "dataset": AUGMENTED, "resources": {"devices": 2}}
    fields["schedule"] = {"name": "one_cycle", "max_lr": 0.02}
    whole = run_process(build_spec(**fields), dataset, tmp_path / "whole")
    spec = build_spec(**fields, milestones={"epochs": [1]})
    assert run_process(spec, dataset, tmp_path / "first", milestone_epoch=0) == MilestoneReached(epoch=1)
    snapshot = find_latest_valid(tmp_path / "first" / "checkpoints", print)
    last = run_process(spec, dataset, tmp_path / "second", milestone_epoch=1, resume_dir=str(snapshot))
    assert isinstance(last, TrainingFinished)
    assert isinstance(whole, TrainingFinished)
    assert last.files["weights.safetensors"] == whole.files["weights.safetensors"]
