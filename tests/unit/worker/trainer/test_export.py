"""Variants of a registered model: written, measured, and rejected if they are less accurate."""

import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from core.spec import ANY_JOB, AUTO, CANDIDATE_FORMATS, SERVED_VARIANTS, RequestedFormat, VariantFormat
from models import bundle, variants
from tests.support.trainer import build_start, run_job
from worker.protocol import EXIT_STOPPED, JobCompleted, RunFailed, RunStopped, Start, TrainingFinished
from worker.trainer.variant_comparison import compute_score

SPEC = {"kind": "variant", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}


@pytest.fixture
def model_dir(trained: TrainingFinished) -> Path:
    return Path(trained.dir)


def build_variant_start(dataset: Path, model_dir: Path, work_dir: Path, **changes: Any) -> Start:
    spec = ANY_JOB.validate_python(SPEC | changes)
    return build_start(spec, dataset, work_dir, model_dir=str(model_dir))


@pytest.mark.parametrize("kind", ["int8", "torch-export"])
def test_variant_is_written_and_measured(large_dataset: Path, model_dir: Path, tmp_path: Path, kind: str) -> None:
    status, channel = run_job(
        build_variant_start(large_dataset, model_dir, tmp_path / "work", format=kind, max_drop=0.2)
    )
    assert status == 0, channel.messages[-1]
    completed = channel.messages[-1]
    assert isinstance(completed, JobCompleted)
    result, folder = completed.result, Path(str(completed.dir))
    assert (result["format"], result["metric"], result["num_samples"]) == (kind, "accuracy", 24)
    assert result["calibration_samples"] == (96 if kind == "int8" else None)
    assert 0 <= result["before"] - result["after"] <= 0.2 or result["after"] > result["before"]
    assert completed.metrics["valid_accuracy"] == result["after"]
    low, middle, high = result["speed"]["after_images_per_s"]
    assert 0 < low <= middle <= high
    assert result["speed_ratio"] == pytest.approx(middle / result["speed"]["before_images_per_s"][1])
    assert {path.name for path in folder.iterdir()} == set(completed.files)
    assert result["file"] in completed.files
    for name, file in completed.files.items():
        assert file.sha256 == bundle.compute_sha256(folder / name)
    difference = result["max_logit_difference"]
    assert difference < 1e-4 if kind == "torch-export" else 1e-6 < difference < 0.5


def test_less_accurate_variant_is_rejected(
    large_dataset: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_wrong_runner(folder: Path, *, threads: int) -> variants.Runner:
        network, description = bundle.load_bundle(folder)
        correct = variants.create_eager_runner(network, description)
        return lambda pixels: np.roll(correct(pixels), 1, axis=1)

    monkeypatch.setattr(variants, "open_runner", open_wrong_runner)
    status, channel = run_job(build_variant_start(large_dataset, model_dir, tmp_path / "work", format="torch-compile"))
    assert status == 1
    failed = channel.select_messages(RunFailed)[0]
    assert failed.code == "accuracy_dropped"
    assert failed.extra["before"] - failed.extra["after"] > failed.extra["max_drop"] == 0.005
    assert "max_drop" in failed.message


def test_variant_with_non_finite_scores_is_rejected(
    large_dataset: Path, model_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_nan_runner(folder: Path, *, threads: int) -> variants.Runner:
        return lambda pixels: np.full((len(pixels), 3), np.nan, np.float32)

    monkeypatch.setattr(variants, "open_runner", open_nan_runner)
    _, channel = run_job(
        build_variant_start(large_dataset, model_dir, tmp_path / "work", format="torch-compile", max_drop=1.0)
    )
    assert channel.select_messages(RunFailed)[0].code == "accuracy_dropped"


def test_export_stops_on_request(large_dataset: Path, model_dir: Path, tmp_path: Path) -> None:
    status, channel = run_job(
        build_variant_start(large_dataset, model_dir, tmp_path / "work", format="torch-compile"), "cancel"
    )
    assert status == EXIT_STOPPED
    assert isinstance(channel.messages[-1], RunStopped)


def test_regression_is_scored_by_r_squared(model_dir: Path) -> None:
    document = json.loads((model_dir / "bundle.json").read_text())
    changes = {"task": "regression", "classes": [], "num_outputs": 1}
    description = bundle.BundleDescription.model_validate(document | changes)
    truth = torch.tensor([[1.0], [2.0], [3.0]])
    assert compute_score(truth, truth, description) == 1.0
    assert compute_score(torch.full((3, 1), 2.0), truth, description) == pytest.approx(0.0)
    assert compute_score(torch.tensor([[2.0], [2.0], [3.0]]), truth, description) == pytest.approx(0.5)


def test_formats_of_the_spec_are_implemented() -> None:
    assert get_args(VariantFormat) == variants.FORMATS
    assert get_args(RequestedFormat) == (AUTO, *variants.FORMATS)
    assert set(CANDIDATE_FORMATS) < set(SERVED_VARIANTS)
    assert SERVED_VARIANTS == variants.SERVED
