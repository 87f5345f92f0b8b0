"""A training that finds its batch size before it begins."""

from pathlib import Path
from typing import Any

import pytest

from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.engine import batch_size_finder
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    Log,
    Metrics,
    RunFailed,
    RunStarted,
    Start,
    TrainingFinished,
)
from worker.trainer import main

FINDER = [{"name": "batch_size_finder", "max_size": 64}]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=120)
    return folder


def run(order: Start, asked: Any = None) -> tuple[int, RecordingChannel]:
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float | BaseException]:
    """How quick each size is said to be."""
    known: dict[int, float | BaseException] = {8: 100.0, 16: 200.0, 32: 400.0, 64: 400.0}

    def told(run: Any, *_: Any) -> float:
        speed = known[len(next(iter(run.train_batches.iter_epoch(1))).targets)]
        if isinstance(speed, BaseException):
            raise speed
        return speed

    monkeypatch.setattr(batch_size_finder, "measure_samples_per_s", told)
    return known


def test_it_trains_with_what_it_found_and_remembers_it(
    dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    spec = build_spec(epochs=3, batch_size=8, callbacks=FINDER)
    status, whole = run(build_start(spec, dataset, tmp_path / "whole"))
    assert status == 0, whole.messages[-2:]
    found = whole.select_messages(RunStarted)[0].runtime["batch_size"]
    assert found["chosen"] == 32
    assert [trial["batch_size"] for trial in found["trials"]] == [8, 16, 32, 64]
    assert whole.select_messages(Metrics)[-1].progress.steps == 3 * (108 // 32)
    assert any("batch_size to 32" in said.message for said in whole.select_messages(Log) if said.level == "warning")
    speeds.clear()  # it must not look again
    folder = whole.select_messages(CheckpointWritten)[0].dir
    status, resumed = run(build_start(spec, dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    assert resumed.select_messages(TrainingFinished)[0].files == whole.select_messages(TrainingFinished)[0].files
    plain = build_spec(epochs=3, batch_size=32)
    _, other = run(build_start(plain, dataset, tmp_path / "plain"))
    name = "weights.safetensors"
    assert (
        other.select_messages(TrainingFinished)[0].files[name] == whole.select_messages(TrainingFinished)[0].files[name]
    )


def test_what_does_not_fit_into_memory_ends_the_search(
    dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    speeds[32] = MemoryError()
    _, channel = run(build_start(build_spec(epochs=1, batch_size=8, callbacks=FINDER), dataset, tmp_path / "work"))
    found = channel.select_messages(RunStarted)[0].runtime["batch_size"]
    assert (found["chosen"], found["trials"][-1]) == (16, {"batch_size": 32, "samples_per_s": None})
    speeds[8] = MemoryError()
    status, channel = run(build_start(build_spec(batch_size=8, callbacks=FINDER), dataset, tmp_path / "none"))
    assert (status, channel.select_messages(RunFailed)[0].code) == (1, "invalid_spec")
    assert "batch_size 8 does not fit into memory" in channel.select_messages(RunFailed)[0].message


def test_another_error_is_not_taken_for_want_of_memory(
    dataset: Path, tmp_path: Path, speeds: dict[int, float | BaseException]
) -> None:
    speeds[16] = RuntimeError("something else")
    _, channel = run(build_start(build_spec(batch_size=8, callbacks=FINDER), dataset, tmp_path / "work"))
    assert channel.select_messages(RunFailed)[0].code == "internal"


def test_real_sizes_are_timed_and_the_search_can_be_left(dataset: Path, tmp_path: Path) -> None:
    spec = build_spec(epochs=1, batch_size=16, callbacks=[{**FINDER[0], "steps": 2}])
    status, channel = run(build_start(spec, dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    trials = channel.select_messages(RunStarted)[0].runtime["batch_size"]["trials"]
    assert all(trial["samples_per_s"] > 0 for trial in trials)
    status, channel = run(build_start(spec, dataset, tmp_path / "left"), asked="cancel")
    assert (status, channel.select_messages(RunStarted)) == (EXIT_STOPPED, [])
