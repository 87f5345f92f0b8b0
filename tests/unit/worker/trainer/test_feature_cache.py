"""Cached features of whole jobs: the decision, its report, the limits, and stops."""

from pathlib import Path
from typing import Any

import pytest

from core.jobs import StopMode
from tests.support.trainer import build_start, run_job, run_to_failure
from tests.support.training import RecordingChannel, build_spec
from worker.protocol import CheckpointWritten, Log, RunStarted, RunStopped, TrainingFinished

CONVNET = {"name": "convnet", "channels": [8, 16], "batch_norm": True, "head": [16]}
FROZEN: dict[str, Any] = {"architecture": CONVNET, "freeze": ["features.*"], "epochs": 3}


def train(dataset: Path, work_dir: Path, start: dict[str, Any] | None = None, **changes: Any) -> RecordingChannel:
    status, channel = run_job(build_start(build_spec(**FROZEN | changes), dataset, work_dir, **start or {}))
    assert status == 0, channel.messages[-1]
    return channel


def get_report(channel: RecordingChannel) -> dict[str, Any] | None:
    [started] = channel.select_messages(RunStarted)
    report: dict[str, Any] | None = started.runtime.get("cached_features")
    return report


def get_result(channel: RecordingChannel) -> tuple[str, Any]:
    [finished] = channel.select_messages(TrainingFinished)
    return finished.files["weights.safetensors"].sha256, finished.evaluation


def test_a_job_with_a_frozen_body_caches_features_and_has_the_same_result(dataset: Path, tmp_path: Path) -> None:
    cached = train(dataset, tmp_path / "cached")
    plain = train(dataset, tmp_path / "plain", cache_features=False)
    report = get_report(cached)
    assert report is not None
    assert (report["used"], report["reason"], report["shape"], report["dtype"]) == (True, None, [16], "float32")
    assert get_report(plain) is None
    assert get_result(cached) == get_result(plain)
    assert cached.collect_points() == plain.collect_points()
    assert any("computed in" in log.message for log in cached.select_messages(Log))
    assert list((tmp_path / "cached" / "features").iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epochs": 1}, "at most one epoch remains"),
        ({"callbacks": [{"name": "mixup"}]}, "'mixup' mixes the images"),
        ({"freeze": ["head.*"]}, "the first layer is trained"),
        ({"architecture": {**CONVNET, "dropout": 0.5}, "freeze": ["*", "!head.4.*"]}, "draws random numbers"),
    ],
)
def test_a_job_that_cannot_cache_features_states_the_reason(
    changes: dict[str, Any], reason: str, dataset: Path, tmp_path: Path
) -> None:
    report = get_report(train(dataset, tmp_path / "work", **changes))
    assert report is not None
    assert (report["used"], reason in report["reason"]) == (False, True)


def test_a_job_without_frozen_parameters_reports_nothing(dataset: Path, tmp_path: Path) -> None:
    assert get_report(train(dataset, tmp_path / "work", freeze=[], epochs=2)) is None


def test_features_above_the_limit_are_not_cached(dataset: Path, tmp_path: Path) -> None:
    report = get_report(train(dataset, tmp_path / "work", {"max_feature_bytes": 1000}))
    assert report is not None
    assert (report["used"], "at most 1000 are available" in report["reason"]) == (False, True)
    spec = build_spec(**FROZEN, cache_features=True)
    failed = run_to_failure(build_start(spec, dataset, tmp_path / "required", max_feature_bytes=1000))
    assert failed.code == "invalid_spec"
    assert failed.message.startswith("cache_features is true, but the outputs of the frozen layers need ")


def test_one_epoch_is_cached_if_the_job_requires_it(dataset: Path, tmp_path: Path) -> None:
    report = get_report(train(dataset, tmp_path / "work", epochs=1, cache_features=True))
    assert report is not None
    assert report["used"]


def test_a_stop_ends_the_computation_of_features(dataset: Path, tmp_path: Path) -> None:
    status, channel = run_job(build_start(build_spec(**FROZEN), dataset, tmp_path / "work"), StopMode.PAUSE)
    assert (status, isinstance(channel.messages[-1], RunStopped)) == (75, True)
    assert not channel.select_messages(Log)  # the features are not complete
    assert not channel.select_messages(CheckpointWritten)  # no step was made, so that the job starts again


def test_a_resumed_job_computes_the_features_again_and_has_the_same_result(dataset: Path, tmp_path: Path) -> None:
    expected = get_result(train(dataset, tmp_path / "whole", cache_features=False))
    first = train(dataset, tmp_path / "first", cache_features=False)
    checkpoint = first.select_messages(CheckpointWritten)[0]
    assert checkpoint.epoch == 1
    resumed = train(dataset, tmp_path / "second", {"resume_dir": checkpoint.dir})
    report = get_report(resumed)
    assert report is not None
    assert report["used"]
    assert get_result(resumed) == expected
