"""The number of threads of a training with `threads: "auto"`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from core.jobs import StopMode
from tests.support.trainer import build_start, get_runtime, run_job
from tests.support.training import build_spec
from worker.engine import distributed, thread_finder
from worker.engine.thread_finder import ThreadTrial
from worker.protocol import EXIT_STOPPED, CheckpointWritten, Log, RunStarted, TrainingFinished

# Dropout, shuffling and augmentation use random numbers, which the measurement must not change.
NETWORK = {"name": "convnet", "channels": [8], "head": [16], "dropout": 0.5}
DATASET = {"name": "synthetic", "train_transforms": [{"name": "horizontal_flip"}]}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(distributed, "count_usable_cores", lambda: 4)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def speeds(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Steps per second by number of threads, which replace the times of the real measurement."""
    speeds = {1: 200.0, 2: 100.0, 4: 100.0}
    measure = thread_finder.measure_threads

    def measure_and_look_up(run: Any, max_threads: int, observers: Any) -> list[ThreadTrial]:
        measure(run, max_threads, observers)
        return [ThreadTrial(threads, speeds[threads]) for threads in (1, max_threads)] if speeds else []

    monkeypatch.setattr(thread_finder, "measure_threads", measure_and_look_up)
    return speeds


@pytest.mark.parametrize(("one", "chosen"), [(200.0, 1), (50.0, 4)])
def test_the_training_is_the_same_as_with_this_number_in_the_spec(
    dataset: Path, tmp_path: Path, speeds: dict[int, float], one: float, chosen: int
) -> None:
    speeds[1] = one
    changes = {"architecture": NETWORK, "dataset": DATASET, "epochs": 2}
    status, measured = run_job(build_start(build_spec(threads="auto", **changes), dataset, tmp_path / "auto"))
    assert status == 0, measured.messages[-2:]
    assert get_runtime(measured)["threads"] == chosen
    assert get_runtime(measured)["thread_trials"] == [
        {"threads": 1, "steps_per_s": one},
        {"threads": 4, "steps_per_s": 100.0},
    ]
    assert any(f"uses {chosen} of 4 threads" in log.message for log in measured.select_messages(Log))
    _, fixed = run_job(build_start(build_spec(threads=chosen, **changes), dataset, tmp_path / "fixed"))
    assert "thread_trials" not in get_runtime(fixed)
    weights = [
        channel.select_messages(TrainingFinished)[0].files["weights.safetensors"] for channel in (measured, fixed)
    ]
    assert weights[0] == weights[1]


def test_a_resumed_run_keeps_the_number_and_does_not_measure_again(
    dataset: Path, tmp_path: Path, speeds: dict[int, float]
) -> None:
    spec = build_spec(threads="auto", epochs=3)
    _, whole = run_job(build_start(spec, dataset, tmp_path / "whole"))
    folder = whole.select_messages(CheckpointWritten)[0].dir
    speeds[1] = 50.0  # a second measurement would choose four threads
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    assert get_runtime(resumed)["threads"] == 1
    assert get_runtime(resumed)["thread_trials"] == get_runtime(whole)["thread_trials"]
    assert not [log.message for log in resumed.select_messages(Log) if "threads" in log.message]
    ends = [channel.select_messages(TrainingFinished)[0].files for channel in (whole, resumed)]
    assert ends[0] == ends[1]


def test_a_number_from_an_earlier_attempt_or_an_equal_job_is_used(
    dataset: Path, tmp_path: Path, speeds: dict[int, float]
) -> None:
    _, channel = run_job(build_start(build_spec(threads="auto"), dataset, tmp_path / "work", threads=2))
    assert get_runtime(channel)["threads"] == 2
    assert "thread_trials" not in get_runtime(channel)


@pytest.mark.parametrize(("slots", "threads"), [(1, 4), (2, 2), (3, 1), (8, 1)])
def test_the_cores_are_divided_among_the_slots(
    dataset: Path, tmp_path: Path, speeds: dict[int, float], slots: int, threads: int
) -> None:
    speeds[1] = 10.0
    _, channel = run_job(build_start(build_spec(threads="auto"), dataset, tmp_path / "work", worker_slots=slots))
    assert get_runtime(channel)["threads"] == threads
    assert ("thread_trials" in get_runtime(channel)) is (threads > 1)


def test_a_network_with_long_steps_uses_all_threads(dataset: Path, tmp_path: Path, speeds: dict[int, float]) -> None:
    speeds.clear()
    _, channel = run_job(build_start(build_spec(threads="auto"), dataset, tmp_path / "work"))
    assert get_runtime(channel)["threads"] == 4
    assert "thread_trials" not in get_runtime(channel)


def test_a_stop_request_ends_the_measurement(dataset: Path, tmp_path: Path) -> None:
    start = build_start(build_spec(threads="auto"), dataset, tmp_path / "work")
    status, channel = run_job(start, stop_mode=StopMode.CANCEL)
    assert status == EXIT_STOPPED
    assert not channel.select_messages(RunStarted)
