"""Jobs of any kind that are stopped."""

from pathlib import Path
from typing import Any

import pytest

from core.spec import ANY_JOB, AnyJobSpec
from tests.support.trainer import build_start, run_job
from tests.support.training import build_spec
from worker.protocol import EXIT_STOPPED, CheckpointWritten, RunStopped, TrainingFinished

MODEL = {"kind": "evaluate", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}


@pytest.mark.parametrize("mode", ["pause", "preempt", "cancel"])
def test_stopped_training_writes_a_snapshot(dataset: Path, tmp_path: Path, mode: Any) -> None:
    status, channel = run_job(build_start(build_spec(), dataset, tmp_path / "work"), stop_mode=mode)
    assert status == EXIT_STOPPED
    assert channel.messages[-1] == RunStopped(mode=mode)
    assert isinstance(channel.messages[-2], CheckpointWritten)


def build_lr_find_spec(**changes: Any) -> AnyJobSpec:
    return ANY_JOB.validate_python(build_spec().model_dump(mode="json") | {"kind": "lr_find"} | changes)


def test_learning_rate_finder_stops_on_request(large_dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_lr_find_spec(), large_dataset, tmp_path / "work"), stop_mode="cancel")
    assert status == EXIT_STOPPED
    assert channel.messages[-1] == RunStopped(mode="cancel")


def test_stopped_evaluation_has_no_result(large_dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    start = build_start(
        ANY_JOB.validate_python(MODEL | {"split": "train"}), large_dataset, tmp_path / "w", model_dir=trained.dir
    )
    status, channel = run_job(start, stop_mode="pause")
    assert (status, channel.messages[-1]) == (EXIT_STOPPED, RunStopped(mode="pause"))
