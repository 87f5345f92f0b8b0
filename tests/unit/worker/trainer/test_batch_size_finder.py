"""The batch size finder before a training."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec
from worker.engine import batch_size_finder
from worker.protocol import EXIT_STOPPED, CheckpointWritten, Log, Metrics, RunFailed, RunStarted, TrainingFinished

FINDER = [{"name": "batch_size_finder", "max_size": 64}]


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float | BaseException]:
    """Throughputs by batch size, which replace the measurement. An error is raised instead."""
    speeds: dict[int, float | BaseException] = {8: 100.0, 16: 200.0, 32: 400.0, 64: 400.0}

    def look_up_speed(run: Any, *_: Any) -> float:
        speed = speeds[len(next(iter(run.train_batches.iter_epoch(1))).targets)]
        if isinstance(speed, BaseException):
            raise speed
        return speed

    monkeypatch.setattr(batch_size_finder, "measure_samples_per_s", look_up_speed)
    return speeds


def test_training_uses_the_best_size_and_a_resumed_run_keeps_it(
    large_dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    spec = build_spec(epochs=3, batch_size=8, callbacks=FINDER)
    status, uninterrupted = run_job(build_start(spec, large_dataset, tmp_path / "whole"))
    assert status == 0, uninterrupted.messages[-2:]
    found = uninterrupted.select_messages(RunStarted)[0].runtime["batch_size"]
    assert found["chosen"] == 32
    assert [trial["batch_size"] for trial in found["trials"]] == [8, 16, 32, 64]
    assert uninterrupted.select_messages(Metrics)[-1].progress.steps == 3 * (108 // 32)
    warnings = [log.message for log in uninterrupted.select_messages(Log) if log.level == "warning"]
    assert any("batch_size to 32" in message for message in warnings)
    speeds.clear()  # it must not search again
    folder = uninterrupted.select_messages(CheckpointWritten)[0].dir
    status, resumed = run_job(build_start(spec, large_dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    finished = uninterrupted.select_messages(TrainingFinished)[0]
    assert resumed.select_messages(TrainingFinished)[0].files == finished.files
    _, fixed = run_job(build_start(build_spec(epochs=3, batch_size=32), large_dataset, tmp_path / "fixed"))
    name = "weights.safetensors"
    assert fixed.select_messages(TrainingFinished)[0].files[name] == finished.files[name]


def test_lack_of_memory_ends_the_search(
    large_dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    speeds[32] = MemoryError()
    _, channel = run_job(
        build_start(build_spec(epochs=1, batch_size=8, callbacks=FINDER), large_dataset, tmp_path / "work")
    )
    found = channel.select_messages(RunStarted)[0].runtime["batch_size"]
    assert (found["chosen"], found["trials"][-1]) == (16, {"batch_size": 32, "samples_per_s": None})
    speeds[8] = MemoryError()
    status, channel = run_job(build_start(build_spec(batch_size=8, callbacks=FINDER), large_dataset, tmp_path / "none"))
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "invalid_spec")
    assert "batch_size 8 does not fit into memory" in channel.select_messages(RunFailed)[0].message


def test_no_larger_size_is_tried_when_half_of_the_memory_of_the_container_is_used(
    large_dataset: Path,
    tmp_path: Path,
    speeds: dict[int, float | BaseException],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.trainer.batch_size_finder.get_memory_bytes", lambda: 2**20)
    spec = build_spec(epochs=1, batch_size=8, callbacks=FINDER)
    _, channel = run_job(build_start(spec, large_dataset, tmp_path / "work"))
    found = channel.select_messages(RunStarted)[0].runtime["batch_size"]
    assert (found["chosen"], len(found["trials"])) == (8, 1)


def test_other_errors_fail_the_job(
    large_dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    speeds[16] = RuntimeError("something else")
    _, channel = run_job(build_start(build_spec(batch_size=8, callbacks=FINDER), large_dataset, tmp_path / "work"))
    assert channel.select_messages(RunFailed)[0].code == "internal"


def test_sizes_are_timed_and_the_search_stops_on_request(large_dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=1, batch_size=16, callbacks=[{**FINDER[0], "steps": 2}])
    status, channel = run_job(build_start(spec, large_dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    trials = channel.select_messages(RunStarted)[0].runtime["batch_size"]["trials"]
    assert all(trial["samples_per_s"] > 0 for trial in trials)
    status, channel = run_job(build_start(spec, large_dataset, tmp_path / "left"), stop_mode="cancel")
    assert (status, channel.select_messages(RunStarted)) == (EXIT_STOPPED, [])
