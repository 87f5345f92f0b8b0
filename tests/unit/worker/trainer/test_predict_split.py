"""Predictions of a split."""

import csv
import json
from pathlib import Path

import pytest
import torch

from core.spec import ANY_JOB
from models import bundle
from tests.support.trainer import build_start, run_job, run_to_result
from tests.support.training import build_spec, pack
from worker.protocol import TrainingFinished

MODEL = {"kind": "evaluate", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}


def test_prediction_files_have_every_sample(large_dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    body = MODEL | {"kind": "predict", "split": "train", "top_k": 2, "precision": "fp32"}
    completed = run_to_result(
        build_start(ANY_JOB.validate_python(body), large_dataset, tmp_path / "w", model_dir=trained.dir)
    )
    assert completed.dir is not None
    lines = [json.loads(line) for line in (Path(completed.dir) / "predictions.jsonl").read_text().splitlines()]
    with (Path(completed.dir) / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(lines) == len(rows) == completed.result["num_samples"] == 96
    assert sum(completed.result["counts"].values()) == 96
    for line, row in zip(lines, rows, strict=True):
        assert [ranked["label"] for ranked in line["top_k"]] == [row["label"], row["label_2"]]
        assert (line["name"], line["target"], line["probability"]) == (
            row["name"],
            row["target"],
            float(row["probability"]),
        )
        assert line["top_k"][0]["probability"] >= line["top_k"][1]["probability"]
    assert {line["target"] for line in lines} == set(bundle.load_bundle(Path(trained.dir))[1].classes)


@pytest.mark.parametrize("task", ["classification", "binary", "multilabel", "regression"])
def test_scores_are_written_on_request(task: str, tmp_path: Path) -> None:
    pack(tmp_path / "it", task=task, num_samples=60)
    _, channel = run_job(build_start(build_spec(epochs=1, metrics=None), tmp_path / "it", tmp_path / "t"))
    spec = ANY_JOB.validate_python(MODEL | {"kind": "predict", "split": "valid", "scores": True})
    completed = run_to_result(
        build_start(spec, tmp_path / "it", tmp_path / "p", model_dir=channel.select_messages(TrainingFinished)[0].dir)
    )
    folder = Path(completed.dir or "")
    lines = [json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()]
    with (folder / "predictions.csv").open() as file:
        rows = list(csv.DictReader(file))
    if task == "regression":
        assert "scores" not in lines[0]
        return
    for line, row in zip(lines, rows, strict=True):
        scores = torch.tensor(line["scores"])
        assert [float(row[f"score_{i}"]) for i in range(len(scores))] == line["scores"]
        if task == "classification":
            assert line["probability"] == pytest.approx(float(scores.softmax(0).max()), abs=1e-6)
        elif task == "multilabel":
            assert list(line["probabilities"].values()) == pytest.approx(scores.sigmoid().tolist(), abs=1e-6)
        else:
            second = float(scores.sigmoid())
            assert line["probability"] == pytest.approx(max(second, 1 - second), abs=1e-6)
