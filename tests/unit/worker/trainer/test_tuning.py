"""The kinds of a job beside a training, as the trainer does them; transfer; the learning rate that is found."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from core.spec import ANY_JOB, AnyJobSpec
from models import bundle
from tests.support.trainer import build_start
from tests.support.training import RecordingChannel, build_spec, pack
from worker.protocol import (
    EXIT_STOPPED,
    CheckpointWritten,
    JobCompleted,
    Log,
    RunFailed,
    RunStarted,
    RunStopped,
    Start,
    TrainingFinished,
)
from worker.trainer import main

MODEL = {"kind": "evaluate", "model": "it@1", "dataset": {"name": "synthetic", "valid": 0.2}, "threads": 1}
AUTO = {"name": "one_cycle", "max_lr": "auto"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("packed") / "it"
    pack(folder, num_samples=120)
    return folder


@pytest.fixture(scope="module")
def trained(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingFinished:
    """A training's last word; its bundle is kept."""
    _, channel = run(build_start(build_spec(epochs=3), dataset, tmp_path_factory.mktemp("trained") / "work"))
    finished: TrainingFinished = channel.select_messages(TrainingFinished)[0]
    return finished


def run(order: Start, asked: Any = None) -> tuple[int, RecordingChannel]:
    channel = RecordingChannel()
    channel.stop_mode = asked
    return main.run_job(order, channel), channel


def answer(order: Start) -> JobCompleted:
    status, channel = run(order)
    assert status == 0, channel.messages[-2:]
    assert isinstance(channel.messages[0], RunStarted)
    last = channel.messages[-1]
    assert isinstance(last, JobCompleted)
    return last


def sweep(**changes: Any) -> AnyJobSpec:
    return ANY_JOB.validate_python(build_spec().model_dump(mode="json") | {"kind": "lr_find"} | changes)


def test_a_learning_rate_is_found_over_as_many_epochs_as_it_takes(dataset: Path, tmp_path: Path) -> None:
    found = answer(build_start(sweep(epochs=1, callbacks=[{"name": "early_stopping"}]), dataset, tmp_path / "work"))
    rates = [point["lr"] for point in found.result["points"]]
    assert len(rates) == 100  # six steps an epoch
    assert rates[0] == pytest.approx(1e-7 * 1.14815, rel=1e-5)
    assert rates[-1] == 1e-1
    assert rates[1] / rates[0] == pytest.approx(1.14815, rel=1e-5)
    assert found.result["suggestion"] == pytest.approx(found.result["lowest"] / 10)
    assert found.metrics == {"suggested_lr": found.result["suggestion"]}
    assert [path.name for path in (tmp_path / "work").iterdir()] == ["artifacts"]  # neither a bundle nor a snapshot


def test_the_same_learning_rate_is_found_again(dataset: Path, tmp_path: Path) -> None:
    first = answer(build_start(sweep(steps=30), dataset, tmp_path / "a"))
    assert answer(build_start(sweep(steps=30), dataset, tmp_path / "b")) == first


def test_a_sweep_ends_where_the_loss_diverges(dataset: Path, tmp_path: Path) -> None:
    wild = {"optimizer": {"name": "sgd"}, "end_lr": 1e6, "steps": 60}
    result = answer(build_start(sweep(**wild), dataset, tmp_path / "work")).result
    assert result["is_diverged"]
    assert len(result["points"]) < 60


def test_a_sweep_can_be_left(dataset: Path, tmp_path: Path) -> None:
    status, channel = run(build_start(sweep(), dataset, tmp_path / "work"), asked="cancel")
    assert status == EXIT_STOPPED
    assert channel.messages[-1] == RunStopped(mode="cancel")


def test_one_cycle_finds_its_peak(dataset: Path, tmp_path: Path) -> None:
    status, channel = run(build_start(build_spec(epochs=3, schedule=AUTO), dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    found = channel.select_messages(RunStarted)[0].runtime["lr_find"]["suggestion"]
    assert found == answer(build_start(sweep(), dataset, tmp_path / "sweep")).result["suggestion"]
    rates = [value for (_, name, _), value in channel.collect_points().items() if name == "lr"]
    assert max(rates) <= found < 2 * max(rates)
    assert any("max_lr" in message.message for message in channel.select_messages(Log) if message.level == "warning")


def test_the_peak_of_several_optimizers_is_the_first_ones(dataset: Path, tmp_path: Path) -> None:
    sgd = {"name": "sgd", "lr": 0.02, "momentum": 0.9}
    parts = [{"match": "*weight", "optimizer": sgd}, {"match": "*", "optimizer": {"name": "adam", "lr": 0.001}}]
    several = {"optimizer": {"name": "several", "parts": parts}}
    status, channel = run(build_start(build_spec(epochs=3, schedule=AUTO, **several), dataset, tmp_path / "work"))
    assert status == 0, channel.messages[-2:]
    found = channel.select_messages(RunStarted)[0].runtime["lr_find"]["suggestion"]
    result = answer(build_start(sweep(**several), dataset, tmp_path / "sweep")).result
    assert found == result["suggestion"]
    rates = [value for (_, name, _), value in channel.collect_points().items() if name == "lr"]
    assert max(rates) <= found < 2 * max(rates)


def test_a_resumed_run_keeps_the_peak_it_found(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = build_spec(epochs=4, schedule=AUTO)
    _, whole = run(build_start(spec, dataset, tmp_path / "whole"))
    folder = whole.select_messages(CheckpointWritten)[1].dir
    monkeypatch.setattr("worker.trainer.lr_finder.find_lr", None)  # it must not look again
    status, resumed = run(build_start(spec, dataset, tmp_path / "rest", resume_dir=folder))
    assert status == 0, resumed.messages[-2:]
    assert (
        resumed.select_messages(RunStarted)[0].runtime["lr_find"]
        == whole.select_messages(RunStarted)[0].runtime["lr_find"]
    )
    assert resumed.select_messages(TrainingFinished)[0].files == whole.select_messages(TrainingFinished)[0].files


def test_an_evaluation_repeats_what_the_training_measured(
    dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    body = MODEL | {"dataset": {"name": "synthetic"}, "split": "valid", "seed": 7, "metrics": ["accuracy"]}
    spec = ANY_JOB.validate_python(body | {"precision": "fp32"})
    result = answer(build_start(spec, dataset, tmp_path / "work", model_dir=trained.dir)).result
    assert result["metrics"] == pytest.approx(trained.evaluation["valid"])
    matrix = torch.tensor(result["confusion_matrix"])
    assert matrix.sum() == result["num_samples"] == 12
    assert result["metrics"]["accuracy"] == pytest.approx(float(matrix.diagonal().sum() / matrix.sum()))
    assert sum(row["support"] for row in result["classes"]) == 12
    assert sum(row["count"] for row in result["calibration"]["bins"]) == 12


def test_an_evaluation_that_is_left_says_nothing(dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    order = build_start(
        ANY_JOB.validate_python(MODEL | {"split": "train"}), dataset, tmp_path / "w", model_dir=trained.dir
    )
    status, channel = run(order, asked="pause")
    assert (status, channel.messages[-1]) == (EXIT_STOPPED, RunStopped(mode="pause"))


def test_a_split_that_is_not_there_is_refused(dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    order = build_start(ANY_JOB.validate_python(MODEL), dataset, tmp_path / "w", model_dir=trained.dir)
    _, channel = run(order)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "'test'" in channel.select_messages(RunFailed)[0].message


def test_a_training_begins_with_the_weights_of_another(
    dataset: Path, trained: TrainingFinished, tmp_path: Path
) -> None:
    order = build_start(build_spec(epochs=1), dataset, tmp_path / "w", model_dir=trained.dir)
    status, channel = run(order)
    assert status == 0
    init = channel.select_messages(RunStarted)[0].runtime["init"]
    assert set(init["loaded"]) == set(load_file(f"{trained.dir}/weights.safetensors"))
    assert init["missing"] == init["unexpected"] == init["mismatched"] == []


def test_a_head_for_other_classes_is_made_anew(trained: TrainingFinished, tmp_path: Path) -> None:
    pack(tmp_path / "five", num_samples=60, num_classes=5)
    order = build_start(build_spec(epochs=1), tmp_path / "five", tmp_path / "w", model_dir=trained.dir)
    status, channel = run(order)
    assert status == 0
    assert channel.select_messages(RunStarted)[0].runtime["init"]["mismatched"]
    assert any("mismatched" in line.message for line in channel.select_messages(Log) if line.level == "warning")


def test_weights_of_another_network_are_rejected(dataset: Path, tmp_path: Path) -> None:
    save_file({"nothing.like.it": torch.zeros(3)}, tmp_path / "w.safetensors")
    order = build_start(
        build_spec(weights="file:w.safetensors"), dataset, tmp_path / "w", weights_path=f"{tmp_path}/w.safetensors"
    )
    _, channel = run(order)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"


def test_a_file_that_is_no_weights_is_refused(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    order = build_start(build_spec(), dataset, tmp_path / "w", weights_path=f"{tmp_path}/w.safetensors")
    _, channel = run(order)
    assert channel.select_messages(RunFailed)[0].code == "invalid_spec"
    assert "cannot be read" in channel.select_messages(RunFailed)[0].message


def test_predictions_are_files_of_every_sample(dataset: Path, trained: TrainingFinished, tmp_path: Path) -> None:
    body = MODEL | {"kind": "predict", "split": "train", "top_k": 2, "precision": "fp32"}
    found = answer(build_start(ANY_JOB.validate_python(body), dataset, tmp_path / "w", model_dir=trained.dir))
    assert found.dir is not None
    lines = [json.loads(line) for line in (Path(found.dir) / "predictions.jsonl").read_text().splitlines()]
    with (Path(found.dir) / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(lines) == len(rows) == found.result["num_samples"] == 96
    assert sum(found.result["counts"].values()) == 96
    for line, row in zip(lines, rows, strict=True):
        assert [one["label"] for one in line["top_k"]] == [row["label"], row["label_2"]]
        assert (line["name"], line["target"], line["probability"]) == (
            row["name"],
            row["target"],
            float(row["probability"]),
        )
        assert line["top_k"][0]["probability"] >= line["top_k"][1]["probability"]
    assert {line["target"] for line in lines} == set(bundle.load_bundle(Path(trained.dir))[1].classes)


@pytest.mark.parametrize("task", ["classification", "binary", "multilabel", "regression"])
def test_raw_scores_are_told_where_they_are_asked_for(task: str, tmp_path: Path) -> None:
    pack(tmp_path / "it", task=task, num_samples=60)
    _, channel = run(build_start(build_spec(epochs=1, metrics=None), tmp_path / "it", tmp_path / "t"))
    spec = ANY_JOB.validate_python(MODEL | {"kind": "predict", "split": "valid", "scores": True})
    found = answer(
        build_start(spec, tmp_path / "it", tmp_path / "p", model_dir=channel.select_messages(TrainingFinished)[0].dir)
    )
    folder = Path(found.dir or "")
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


@pytest.mark.parametrize("task", ["binary", "multilabel", "regression"])
def test_every_task_is_evaluated_and_predicted(task: str, tmp_path: Path) -> None:
    pack(tmp_path / "it", task=task, num_samples=60)
    _, channel = run(build_start(build_spec(epochs=1, metrics=None), tmp_path / "it", tmp_path / "t"))
    folder = channel.select_messages(TrainingFinished)[0].dir
    for kind in ("evaluate", "predict"):
        spec = ANY_JOB.validate_python(MODEL | {"kind": kind, "split": "valid"})
        found = answer(build_start(spec, tmp_path / "it", tmp_path / kind, model_dir=folder))
        assert found.result["num_samples"] == 12
        assert ("confusion_matrix" in found.result) == (kind == "evaluate" and task != "regression")
