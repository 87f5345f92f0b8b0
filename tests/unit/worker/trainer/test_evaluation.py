"""Evaluation jobs of registered models."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets.packed import PackedDataset
from core.spec import ANY_JOB
from tests.support.trainer import build_start, run_job, run_to_result
from tests.support.training import build_spec, pack, read_artifacts
from worker.protocol import JobCompleted, Log, RunFailed, TrainingFinished

MODEL = {"kind": "evaluate", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}


def test_evaluation_repeats_the_metrics_of_the_training(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    body = MODEL | {"dataset": {"name": "synthetic"}, "split": "valid", "seed": 7, "metrics": ["accuracy"]}
    spec = ANY_JOB.validate_python(body | {"precision": "fp32"})
    result = run_to_result(build_start(spec, large_dataset, tmp_path / "work", model_dir=trained.dir)).result
    assert result["metrics"] == pytest.approx(trained.evaluation["valid"])
    matrix = torch.tensor(result["confusion_matrix"])
    assert matrix.sum() == result["num_samples"] == 12
    assert result["metrics"]["accuracy"] == pytest.approx(float(matrix.diagonal().sum() / matrix.sum()))
    assert sum(row["support"] for row in result["classes"]) == 12
    assert sum(row["count"] for row in result["calibration"]["bins"]) == 12


def test_evaluation_averages_the_scores_of_views(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    body = {"model": "it@1", "dataset": {"name": "synthetic"}, "split": "valid", "seed": 7, "precision": "fp32"}
    losses = {}
    for views in ("none", "mirror", "mirror_and_shift"):
        spec = ANY_JOB.validate_python(body | {"kind": "evaluate", "test_time_augmentation": views})
        result = run_to_result(build_start(spec, large_dataset, tmp_path / views, model_dir=trained.dir)).result
        losses[views] = result["metrics"]["loss"]
    assert losses["none"] == pytest.approx(trained.evaluation["valid"]["loss"])
    assert len(set(losses.values())) == 3


def test_evaluation_writes_the_confusion_matrix_with_samples(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    body = MODEL | {"dataset": {"name": "synthetic"}, "split": "valid", "seed": 7, "num_bins": 4}
    start = build_start(ANY_JOB.validate_python(body), large_dataset, tmp_path / "work", model_dir=trained.dir)
    status, channel = run_job(start)
    assert status == 0
    artifacts = read_artifacts(channel)
    result = channel.select_messages(JobCompleted)[0].result
    document = json.loads(artifacts["confusion_matrix.json"])
    assert document["counts"] == result["confusion_matrix"]
    assert json.loads(artifacts["class_metrics.json"])["classes"] == result["classes"]
    assert json.loads(artifacts["calibration.json"])["bins"] == result["calibration"]["bins"]
    assert artifacts["confusion_matrix.png"].startswith(b"\x89PNG")
    split = PackedDataset.open(large_dataset).read_split(document["split"])
    for cell in document["cells"]:
        assert len(cell["samples"]) == cell["count"]
        for sample in cell["samples"]:
            assert split.names[sample["index"]] == sample["name"]
            assert document["labels"][split.targets[sample["index"]]] == cell["true"]


def test_failing_confusion_matrix_is_a_warning(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> bytes:
        raise OSError("no fonts")

    monkeypatch.setattr("worker.engine.plots.plot_confusion_matrix", fail)
    body = MODEL | {"dataset": {"name": "synthetic"}, "split": "valid", "seed": 7}
    start = build_start(ANY_JOB.validate_python(body), large_dataset, tmp_path / "work", model_dir=trained.dir)
    status, channel = run_job(start)
    assert status == 0
    assert any("no fonts" in message.message for message in channel.select_messages(Log))


def test_missing_split_is_rejected(large_dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    start = build_start(ANY_JOB.validate_python(MODEL), large_dataset, tmp_path / "w", model_dir=trained.dir)
    _, channel = run_job(start)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "'test'" in channel.select_messages(RunFailed)[0].message


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_is_evaluated_and_predicted(task: str, tmp_path: Path) -> None:
    pack(tmp_path / "it", task=task, num_samples=60)
    _, channel = run_job(build_start(build_spec(epochs=1, metrics=None), tmp_path / "it", tmp_path / "t"))
    folder = channel.select_messages(TrainingFinished)[0].dir
    for kind in ("evaluate", "predict"):
        spec = ANY_JOB.validate_python(MODEL | {"kind": kind, "split": "valid"})
        completed = run_to_result(build_start(spec, tmp_path / "it", tmp_path / kind, model_dir=folder))
        assert completed.result["num_samples"] == 12
        assert ("confusion_matrix" in completed.result) == (kind == "evaluate" and task != "regression")


def test_class_without_samples_is_a_warning_and_nan(tmp_path: Path) -> None:
    packed = pack(tmp_path / "it", num_samples=60, num_classes=3)
    targets = packed.read_split("train").targets
    np.save(tmp_path / "it" / "train_targets.npy", np.minimum(targets, 1))  # no sample of the third class
    start = build_start(build_spec(epochs=1, metrics=["auroc"]), tmp_path / "it", tmp_path / "t")
    _, channel = run_job(start)
    warnings = [message.message for message in channel.select_messages(Log) if message.level == "warning"]
    assert [
        split for split in ("training", "validation") if any(f"the {split} split" in text for text in warnings)
    ] == [
        "training",
        "validation",
    ]
    finished = channel.select_messages(TrainingFinished)[0]
    assert 0 <= finished.evaluation["valid"]["auroc"] <= 1
    body = MODEL | {"split": "valid", "metrics": [{"name": "auroc", "average": "none"}]}
    result = run_to_result(
        build_start(ANY_JOB.validate_python(body), tmp_path / "it", tmp_path / "e", model_dir=finished.dir)
    ).result
    areas = result["auroc"]
    assert [type(area) for area in areas] == [float, float, str]
    assert areas[2] == "NaN"


def test_evaluation_requires_the_validation_samples_that_it_reads(
    large_dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    body = MODEL | {"dataset": {"name": "synthetic", "valid": 0}, "split": "valid"}
    start = build_start(ANY_JOB.validate_python(body), large_dataset, tmp_path / "w", model_dir=trained.dir)
    _, channel = run_job(start)
    assert "'valid'" in channel.select_messages(RunFailed)[0].message
