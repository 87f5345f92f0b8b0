"""The learning rate finder, as a job and before a training."""

import json
from pathlib import Path
from typing import Any

import pytest

from core.spec import ANY_JOB, AnyJobSpec
from tests.support.trainer import build_start, run_job, run_to_result
from tests.support.training import RecordingChannel, build_spec, read_artifacts
from worker.protocol import CheckpointWritten, JobCompleted, Log, RunStarted, TrainingFinished
from worker.trainer import main

AUTO = {"name": "one_cycle", "max_lr": "auto"}
SOURCE = "0" * 32


def build_lr_find_spec(**changes: Any) -> AnyJobSpec:
    return ANY_JOB.validate_python(build_spec().model_dump(mode="json") | {"kind": "lr_find"} | changes)


def test_finder_runs_over_several_epochs(large_dataset: Path, tmp_path: Path) -> None:
    found = run_to_result(
        build_start(
            build_lr_find_spec(epochs=1, callbacks=[{"name": "early_stopping"}]), large_dataset, tmp_path / "work"
        )
    )
    rates = [point["lr"] for point in found.result["points"]]
    assert len(rates) == 100  # six steps per epoch
    assert rates[0] == pytest.approx(1e-7 * 1.14815, rel=1e-5)
    assert rates[-1] == 1e-1
    assert rates[1] / rates[0] == pytest.approx(1.14815, rel=1e-5)
    assert found.result["suggestion"] == pytest.approx(found.result["lowest"] / 10)
    assert found.metrics == {"suggested_lr": found.result["suggestion"]}
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["artifacts"]  # neither a bundle nor a snapshot


def test_range_test_is_reproducible(large_dataset: Path, tmp_path: Path) -> None:
    first = run_to_result(build_start(build_lr_find_spec(steps=30), large_dataset, tmp_path / "a"))
    assert run_to_result(build_start(build_lr_find_spec(steps=30), large_dataset, tmp_path / "b")) == first


def test_range_test_ends_when_the_loss_diverges(large_dataset: Path, tmp_path: Path) -> None:
    diverging = {"optimizer": {"name": "sgd"}, "end_lr": 1e6, "steps": 60}
    result = run_to_result(build_start(build_lr_find_spec(**diverging), large_dataset, tmp_path / "work")).result
    assert result["is_diverged"]
    assert len(result["points"]) < 60


def test_curve_is_saved_as_json_and_image(dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_lr_find_spec(steps=20), dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    assert json.loads(read_artifacts(channel)["lr_find.json"]) == channel.select_messages(JobCompleted)[0].result
    assert read_artifacts(channel)["lr_find.png"].startswith(b"\x89PNG")


def test_curve_that_cannot_be_saved_is_a_warning(dataset: Path, tmp_path: Path) -> None:
    start = build_start(build_lr_find_spec(steps=20), dataset, tmp_path / "work")
    (tmp_path / "work" / "artifacts").write_text("this file prevents the folder")
    status, channel = run_job(start)
    assert (status, len(channel.select_messages(JobCompleted))) == (0, 1)
    assert any("could not be saved" in message.message for message in channel.select_messages(Log))


def test_auto_max_lr_is_the_suggestion_of_the_finder(large_dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_spec(epochs=3, schedule=AUTO), large_dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    found = channel.select_messages(RunStarted)[0].runtime["lr_find"]["suggestion"]
    result = run_to_result(build_start(build_lr_find_spec(), large_dataset, tmp_path / "range-test")).result
    assert found == result["suggestion"]
    rates = [value for (_, name, _), value in channel.collect_points().items() if name == "lr"]
    assert max(rates) <= found < 2 * max(rates)
    assert any("max_lr" in message.message for message in channel.select_messages(Log) if message.level == "warning")


def test_auto_max_lr_of_several_optimizers_belongs_to_the_first(large_dataset: Path, tmp_path: Path) -> None:
    sgd = {"name": "sgd", "lr": 0.02, "momentum": 0.9}
    parts = [{"match": "*weight", "optimizer": sgd}, {"match": "*", "optimizer": {"name": "adam", "lr": 0.001}}]
    several = {"optimizer": {"name": "several", "parts": parts}}
    status, channel = run_job(
        build_start(build_spec(epochs=3, schedule=AUTO, **several), large_dataset, tmp_path / "work")
    )
    assert status == 0, channel.messages[-2:]
    found = channel.select_messages(RunStarted)[0].runtime["lr_find"]["suggestion"]
    result = run_to_result(build_start(build_lr_find_spec(**several), large_dataset, tmp_path / "range-test")).result
    assert found == result["suggestion"]
    rates = [value for (_, name, _), value in channel.collect_points().items() if name == "lr"]
    assert max(rates) <= found < 2 * max(rates)


def test_resumed_run_keeps_its_max_lr(large_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = build_spec(epochs=4, schedule=AUTO)
    _, uninterrupted = run_job(build_start(spec, large_dataset, tmp_path / "whole"))
    folder = uninterrupted.select_messages(CheckpointWritten)[1].dir
    monkeypatch.setattr("worker.trainer.lr_finder.find_lr", None)  # it must not search again
    status, resumed = run_job(build_start(spec, large_dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    started = [channel.select_messages(RunStarted)[0] for channel in (uninterrupted, resumed)]
    finished = [channel.select_messages(TrainingFinished)[0] for channel in (uninterrupted, resumed)]
    assert started[0].runtime["lr_find"] == started[1].runtime["lr_find"]
    assert finished[0].files == finished[1].files


def test_range_test_starts_from_the_initial_checkpoint(dataset: Path, checkpoint: Path, tmp_path: Path) -> None:
    losses = []
    for name, changes in (("fresh", {"resume_from": None}), ("resumed", {})):
        spec = build_spec(**{"resume_from": {"job": SOURCE, "checkpoint": 2}} | changes).model_dump(mode="json")
        finder_spec = ANY_JOB.validate_python(spec | {"kind": "lr_find", "steps": 5})
        channel = RecordingChannel()
        start = build_start(
            finder_spec, dataset, tmp_path / name, initial_checkpoint_dir=str(checkpoint) if changes == {} else None
        )
        assert main.run_job(start, channel) == 0
        losses.append(channel.select_messages(JobCompleted)[0].result["points"][0]["loss"])
    assert losses[1] < losses[0]
