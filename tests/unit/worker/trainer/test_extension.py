"""Finished trainings that are extended by more epochs."""

from pathlib import Path
from typing import Any

import pytest

from core.spec.extension import Extension
from tests.support.trainer import build_start, run_job
from tests.support.training import RecordingChannel, build_spec
from worker.protocol import CheckpointWritten, Metrics, Start, TrainingFinished
from worker.trainer.extension import find_extension

STOPPED: dict[str, dict[str, Any]] = {
    "early_stopping": {"callbacks": [{"name": "early_stopping", "patience": 2, "min_delta": 99.0}]},
    "time_limit": {"callbacks": [{"name": "time_limit", "seconds": 1e-6}]},
    "finish": {},
}


def train(dataset: Path, folder: Path, stop_mode: Any = None, *, start: Any = None, **changes: Any) -> RecordingChannel:
    status, channel = run_job(build_start(build_spec(**changes), dataset, folder, **(start or {})), stop_mode=stop_mode)
    assert status == 0, channel.messages[-2:]
    return channel


def get_last_snapshot(channel: RecordingChannel) -> CheckpointWritten:
    snapshot: CheckpointWritten = channel.select_messages(CheckpointWritten)[-1]
    return snapshot


def list_epochs(channel: RecordingChannel) -> list[int]:
    return [message.progress.epoch for message in channel.select_messages(Metrics) if message.epoch_end]


def list_rates(channel: RecordingChannel) -> dict[int, float]:
    """Return the first learning rate of each epoch."""
    points = [point for message in channel.select_messages(Metrics) for point in message.points if point.name == "lr"]
    return {point.epoch: float(point.value) for point in reversed(points)}


def extend(snapshot: CheckpointWritten, *, start: int = 0, epochs: int = 50) -> dict[str, Any]:
    """Return the fields of the start message of an extension. The schedule covers `epochs` epochs after `start`."""
    extension = Extension(from_epoch=snapshot.epoch, schedule_start=start, schedule_epochs=epochs)
    return {"resume_dir": snapshot.dir, "extension": extension}


@pytest.mark.parametrize("reason", STOPPED)
def test_stopped_run_trains_the_epochs_of_its_extension(dataset: Path, tmp_path: Path, reason: str) -> None:
    options, mode = STOPPED[reason], "finish" if reason == "finish" else None
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", mode, epochs=50, **options))
    assert snapshot.epoch < 50
    if reason == "time_limit":  # a limit that the extension does not reach; the callbacks of a job do not change
        options = {"callbacks": [{"name": "time_limit", "seconds": 1e6}]}
    total = snapshot.epoch + 3
    more = train(dataset, tmp_path / "b", start=extend(snapshot), epochs=total, **options)
    assert list_epochs(more) == [snapshot.epoch + 1, snapshot.epoch + 2, total]
    assert get_last_snapshot(more).step == snapshot.step + 3 * 5


def test_early_stopping_waits_again(dataset: Path, tmp_path: Path) -> None:
    options = STOPPED["early_stopping"]
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", epochs=50, **options))
    more = train(dataset, tmp_path / "b", start=extend(snapshot), epochs=snapshot.epoch + 40, **options)
    assert list_epochs(more) == [snapshot.epoch + number for number in (1, 2, 3)]
    assert more.select_messages(TrainingFinished)[0].stop_reason is not None


def test_finish_request_before_the_extension_does_not_end_it_untrained(dataset: Path, tmp_path: Path) -> None:
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", epochs=2))
    more = train(dataset, tmp_path / "b", "finish", start=extend(snapshot, epochs=2), epochs=5)
    assert list_epochs(more) == [3]


def test_extension_resumes_to_the_same_weights(dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "schedule": {"name": "one_cycle", "max_lr": 0.02},
        "callbacks": [{"name": "early_stopping", "patience": 9}, {"name": "keep_best"}, {"name": "csv_logger"}],
    }
    before = options | {"schedule": {"name": "step", "step_size": 1, "gamma": 0.1}}
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", epochs=2, **before))
    start = extend(snapshot, start=2, epochs=4)
    whole = train(dataset, tmp_path / "b", start=start, epochs=6, **options)
    middle = next(it for it in whole.select_messages(CheckpointWritten) if it.epoch == 4)
    resumed = train(dataset, tmp_path / "c", start=start | {"resume_dir": middle.dir}, epochs=6, **options)
    assert list_epochs(resumed) == [5, 6]
    first, second = (channel.select_messages(TrainingFinished)[0] for channel in (whole, resumed))
    assert first.files["weights.safetensors"] == second.files["weights.safetensors"]


@pytest.mark.parametrize("before", [None, {"name": "one_cycle", "max_lr": 0.02}, {"name": "plateau"}])
def test_new_schedule_starts_at_the_learning_rate_of_the_optimizer(
    dataset: Path, tmp_path: Path, before: dict[str, Any] | None
) -> None:
    options: dict[str, Any] = {"optimizer": {"name": "adam", "lr": 0.01}, "callbacks": [{"name": "csv_logger"}]}
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", epochs=2, schedule=before, **options))
    start = extend(snapshot, start=2, epochs=2)
    more = train(dataset, tmp_path / "b", start=start, epochs=4, schedule={"name": "cosine"}, **options)
    assert list_rates(more) == pytest.approx({3: 0.01, 4: 0.005})


def test_cosine_stays_at_its_final_learning_rate(dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "schedule": {"name": "cosine", "eta_min": 0.002},
        "optimizer": {"name": "sgd", "lr": 0.01},
    }
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", epochs=2, **options))
    more = train(dataset, tmp_path / "b", start=extend(snapshot, epochs=2), epochs=5, **options)
    assert list_rates(more) == pytest.approx({3: 0.002, 4: 0.002, 5: 0.002})


def test_schedule_that_was_stopped_early_continues(dataset: Path, tmp_path: Path) -> None:
    options: dict[str, Any] = {"schedule": {"name": "cosine"}, "optimizer": {"name": "sgd", "lr": 0.01}}
    planned = list_rates(train(dataset, tmp_path / "whole", epochs=4, **options))
    snapshot = get_last_snapshot(train(dataset, tmp_path / "a", "finish", epochs=4, **options))
    more = train(dataset, tmp_path / "b", start=extend(snapshot, epochs=4), epochs=3, **options)
    assert list_rates(more) == pytest.approx({2: planned[2], 3: planned[3]})


def test_snapshot_with_fewer_epochs_is_extended_without_a_supervisor(dataset: Path, tmp_path: Path) -> None:
    start: Start = build_start(build_spec(epochs=8), dataset, tmp_path / "work")
    finished = {"epochs": 5, "epoch": 3}
    assert find_extension(start, build_spec(epochs=5), finished) is None
    first = find_extension(start, build_spec(epochs=8), finished)
    assert first == Extension(from_epoch=3, schedule_start=0, schedule_epochs=5)
    again = finished | {"epochs": 8, "epoch": 8, "extension": first.model_dump()}
    assert find_extension(start, build_spec(epochs=8), again) == first
    second = find_extension(start, build_spec(epochs=9), again)
    assert second == Extension(from_epoch=8, schedule_start=0, schedule_epochs=5)
