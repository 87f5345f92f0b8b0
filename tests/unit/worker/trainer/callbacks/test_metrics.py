"""Metric curves of a run."""

from pathlib import Path

from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec
from worker.protocol import Metrics, TrainingFinished


def test_epochs_have_points_of_loss_metrics_and_speed(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"))
    points = [point for message in channel.select_messages(Metrics) for point in message.points]
    assert {(p.split, p.name) for p in points} == {
        *(("train", n) for n in ("loss", "accuracy", "step_loss", "lr")),
        *(("train", n) for n in ("images_per_s", "data_wait", "peak_memory_mib", "epoch_seconds", "seconds")),
        ("valid", "seconds"),
        *(("valid", n) for n in ("loss", "accuracy")),
        *(("usage", n) for n in ("cpu_percent", "memory_mib", "data_wait", "images_per_s")),
    }
    assert all(p.seconds is not None and p.seconds > 0 for p in points)
    assert [p.step for p in points if (p.split, p.name) == ("valid", "loss")] == [5, 10]
    assert [m.epoch_end for m in channel.select_messages(Metrics)].count(True) == 2
    assert channel.select_messages(Metrics)[-1].progress.eta_seconds == 0.0


def test_messages_within_an_epoch_have_only_values_of_that_epoch(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(epochs=3), dataset, tmp_path / "work"))
    messages = channel.select_messages(Metrics)
    running = [message.latest for message in messages if not message.epoch_end]
    assert all(name.startswith("train_") for latest in running for name in latest)
    points = {(f"{p.split}_{p.name}", p.epoch): p.value for message in messages for p in message.points}
    ends = [message for message in messages if message.epoch_end]
    assert [message.progress.epoch for message in ends] == [1, 2, 3]
    for message in ends:
        assert {"train_loss", "train_accuracy", "valid_loss", "valid_accuracy"} == message.latest.keys()
        assert all(points[name, message.progress.epoch] == value for name, value in message.latest.items())


def test_best_epoch_is_reported_with_its_metrics(dataset: Path, tmp_path: Path) -> None:
    options = {"optimizer": {"name": "sgd", "lr": 0.01}, "schedule": {"name": "lambda", "factors": [1, 1, 1e3]}}
    spec = build_spec(epochs=4, callbacks=[{"name": "keep_best"}], **options)
    _, channel = run_job(build_start(spec, dataset, tmp_path / "work"))
    ends = [message for message in channel.select_messages(Metrics) if message.epoch_end]
    losses = [message.latest["valid_loss"] for message in ends]
    (finished,) = channel.select_messages(TrainingFinished)
    best = losses.index(min(losses)) + 1
    assert (ends[-1].best.epoch, ends[-1].best.metrics) == (best, ends[best - 1].latest)
    assert (finished.best_epoch.epoch, finished.best_epoch.metrics) == (best, finished.metrics)


def test_run_without_keep_best_reports_no_best_epoch(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(epochs=1), dataset, tmp_path / "work"))
    assert channel.select_messages(TrainingFinished)[0].best_epoch is None


def test_stopped_run_has_no_remaining_time(dataset: Path, tmp_path: Path) -> None:
    _, channel = run_job(build_start(build_spec(epochs=50), dataset, tmp_path / "work"), stop_mode="finish")
    progress = channel.select_messages(Metrics)[-1].progress
    assert (progress.epoch, progress.epochs, progress.step, progress.steps) == (1, 50, 5, 250)
    assert progress.eta_seconds == 0.0
