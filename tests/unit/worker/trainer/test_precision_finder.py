"""The precision of a training with `precision: "auto"`, on a CPU with bf16."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from core.jobs import StopMode
from tests.support.trainer import build_start, get_runtime, run_job
from tests.support.training import build_spec
from worker.engine import device, precision_finder
from worker.engine.device import Precision
from worker.engine.precision_finder import PrecisionTrial
from worker.engine.run import Run
from worker.protocol import EXIT_STOPPED, CheckpointWritten, Log, RunStarted, TrainingFinished

# Dropout, shuffling and augmentation use random numbers, which the measurement must not change.
CHANGES: dict[str, Any] = {
    "architecture": {"name": "convnet", "channels": [8], "head": [16], "dropout": 0.5},
    "dataset": {"name": "synthetic", "train_transforms": [{"name": "horizontal_flip"}]},
    "batch_size": 32,
    "threads": 1,
    "precision": "auto",
}


@pytest.fixture
def times(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """CPU seconds of a step by precision, which replace the times of the real measurement."""
    times = {"bf16": 0.4, "fp32": 0.1}
    measure = precision_finder.measure_precisions

    def measure_and_look_up(build_run: Callable[[Precision], Run], observers: Sequence[Any]) -> list[PrecisionTrial]:
        monkeypatch.setattr(precision_finder, "MIN_STEP_CPU_S", 0.0)
        if not measure(build_run, observers):
            return []
        return [PrecisionTrial("bf16", times["bf16"]), PrecisionTrial("fp32", times["fp32"])]

    monkeypatch.setattr(precision_finder, "measure_precisions", measure_and_look_up)
    # A processor without bf16 computes the same, more slowly.
    monkeypatch.setattr(device, "_accelerates_bf16", lambda _: True)
    return times


@pytest.mark.parametrize(("bf16_s", "chosen"), [(0.4, "fp32"), (0.05, "bf16")])
def test_the_training_is_the_same_as_with_this_precision_in_the_spec(
    dataset: Path, tmp_path: Path, times: dict[str, float], bf16_s: float, chosen: str
) -> None:
    times["bf16"] = bf16_s
    status, measured = run_job(build_start(build_spec(epochs=2, **CHANGES), dataset, tmp_path / "auto"))
    assert status == 0, measured.messages[-2:]
    assert get_runtime(measured)["precision"] == chosen
    assert get_runtime(measured)["precision_trials"] == [
        {"precision": "bf16", "cpu_s": bf16_s},
        {"precision": "fp32", "cpu_s": 0.1},
    ]
    assert any(
        f"The training uses {chosen}: a step of 32 samples" in log.message for log in measured.select_messages(Log)
    )
    _, fixed = run_job(
        build_start(build_spec(epochs=2, **CHANGES | {"precision": chosen}), dataset, tmp_path / "fixed")
    )
    assert "precision_trials" not in get_runtime(fixed)
    weights = [
        channel.select_messages(TrainingFinished)[0].files["weights.safetensors"] for channel in (measured, fixed)
    ]
    assert weights[0] == weights[1]


def test_a_resumed_run_keeps_the_precision_and_does_not_measure_again(
    dataset: Path, tmp_path: Path, times: dict[str, float]
) -> None:
    spec = build_spec(epochs=3, **CHANGES)
    _, whole = run_job(build_start(spec, dataset, tmp_path / "whole"))
    folder = whole.select_messages(CheckpointWritten)[0].dir
    times["bf16"] = 0.01  # a second measurement would choose bf16
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    assert get_runtime(resumed)["precision"] == "fp32"
    assert get_runtime(resumed)["precision_trials"] == get_runtime(whole)["precision_trials"]
    ends = [channel.select_messages(TrainingFinished)[0].files for channel in (whole, resumed)]
    assert ends[0] == ends[1]


def test_a_run_in_bf16_continues_in_bf16_on_a_processor_without_it(
    dataset: Path, tmp_path: Path, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    times["bf16"] = 0.01
    spec = build_spec(epochs=3, **CHANGES)
    _, whole = run_job(build_start(spec, dataset, tmp_path / "whole"))
    folder = whole.select_messages(CheckpointWritten)[0].dir
    monkeypatch.setattr(device, "_accelerates_bf16", lambda _: False)
    status, resumed = run_job(build_start(spec, dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    assert get_runtime(resumed)["precision"] == "bf16"
    assert [log.level for log in resumed.select_messages(Log) if "continues in bf16, as before" in log.message] == [
        "warning"
    ]
    ends = [channel.select_messages(TrainingFinished)[0].files for channel in (whole, resumed)]
    assert ends[0] == ends[1]


@pytest.mark.parametrize(
    ("has_bf16", "precision", "used"), [(True, "fp32", "fp32"), (True, "bf16", "bf16"), (False, "bf16", "fp32")]
)
def test_the_precision_of_an_equal_job_is_used_if_the_processor_supports_it(
    dataset: Path,
    tmp_path: Path,
    times: dict[str, float],
    monkeypatch: pytest.MonkeyPatch,
    has_bf16: bool,
    precision: str,
    used: str,
) -> None:
    monkeypatch.setattr(device, "_accelerates_bf16", lambda _: has_bf16)
    start = build_start(build_spec(**CHANGES), dataset, tmp_path / "work", precision=precision)
    _, channel = run_job(start)
    assert get_runtime(channel)["precision"] == used
    assert "precision_trials" not in get_runtime(channel)


def test_a_processor_without_bf16_measures_nothing(
    dataset: Path, tmp_path: Path, times: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_accelerates_bf16", lambda _: False)
    _, channel = run_job(build_start(build_spec(**CHANGES), dataset, tmp_path / "work"))
    assert get_runtime(channel)["precision"] == "fp32"
    assert "precision_trials" not in get_runtime(channel)


def test_a_stop_request_ends_the_measurement(dataset: Path, tmp_path: Path, times: dict[str, float]) -> None:
    start = build_start(build_spec(**CHANGES), dataset, tmp_path / "work")
    status, channel = run_job(start, stop_mode=StopMode.CANCEL)
    assert status == EXIT_STOPPED
    assert not channel.select_messages(RunStarted)
