"""Tests of callbacks that report on the last validation: confusion matrix and worst samples."""

import csv
import io
import json
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from worker.engine.callback import Callback
from worker.engine.callbacks import ConfusionMatrix, ValidationSamples, WorstSamples
from worker.engine.metrics.factory import Task
from worker.engine.state import RunState

Files = dict[str, tuple[str, bytes]]
PNG = b"\x89PNG"


@pytest.fixture
def files() -> Files:
    return {}


@pytest.fixture
def leave(files: Files) -> Any:
    def leave(name: str, media_type: str, content: bytes) -> None:
        files[name] = (media_type, content)

    return leave


def run_validation(callback: Callback, *batches: tuple[list[Any], list[Any]]) -> RunState:
    state = RunState(max_epochs=1, steps_per_epoch=1, epoch=1)
    callback.on_valid_begin(state)
    for pred, target in batches:
        state.pred, state.target = torch.tensor(pred), torch.tensor(target)
        callback.on_valid_batch_after_pred(state)
    callback.on_valid_end(state)
    return state


def read_table(content: bytes) -> list[list[str]]:
    return list(csv.reader(io.StringIO(content.decode())))


def test_confusion_matrix_counts_truth_by_prediction(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples(labels=("cat", "dog", "eel")), leave)
    scores = {"cat": [2.0, 0.0, 0.0], "dog": [0.0, 2.0, 0.0]}
    run_validation(callback, ([scores["dog"]], [2]))  # an earlier epoch
    state = run_validation(callback, ([scores["cat"], scores["dog"]], [0, 0]), ([scores["dog"]], [2]))
    callback.on_fit_end(state)
    media_type, content = files["confusion_matrix.csv"]
    assert media_type == "text/csv"
    assert read_table(content) == [
        ["true \\ predicted", "cat", "dog", "eel"],
        ["cat", "1", "1", "0"],
        ["dog", "0", "0", "0"],
        ["eel", "0", "1", "0"],
    ]
    assert files["confusion_matrix.png"][1].startswith(PNG)


def test_multilabel_confusion_has_one_table_per_label(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples("multilabel", labels=("red", "round")), leave)
    callback.on_fit_end(run_validation(callback, ([[3.0, -3.0], [3.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]])))
    assert read_table(files["confusion_matrix.csv"][1])[1:] == [
        ["red", "0", "1", "0", "1"],
        ["round", "1", "0", "0", "1"],
    ]
    assert "confusion_matrix.png" not in files


def test_worst_samples_have_the_highest_losses(files: Files, leave: Any) -> None:
    images = np.arange(4 * 2 * 2, dtype=np.uint8).reshape(4, 2, 2, 1)
    watched = ValidationSamples(
        labels=("cat", "dog"), split="train", index=np.array([3, 1, 0]), names=("a", "b", "c", "d"), images=images
    )
    callback = WorstSamples(watched, nn.CrossEntropyLoss(label_smoothing=0.0), leave, count=2)
    callback.on_fit_end(run_validation(callback, ([[4.0, 0.0], [0.0, 4.0]], [0, 0]), ([[1.0, 0.0]], [1])))
    head, *rows = read_table(files["worst_samples.csv"][1])
    assert head == ["rank", "split", "index", "name", "loss", "true", "predicted", "probability"]
    assert [row[:4] + row[5:7] for row in rows] == [
        ["1", "train", "1", "b", "cat", "dog"],
        ["2", "train", "0", "a", "dog", "cat"],
    ]
    assert [float(row[4]) for row in rows] == pytest.approx([4.0181499, 1.3132617])  # ln(1 + e^4), ln(1 + e)
    assert float(rows[0][7]) == pytest.approx(0.9820138)
    sheet = Image.open(io.BytesIO(files["worst_samples.png"][1]))
    assert sheet.width > sheet.height


@pytest.mark.parametrize(
    ("task", "loss", "pred", "target", "row"),
    [
        ("binary", nn.BCEWithLogitsLoss(), [[2.0]], [[0.0]], ["no", "yes", pytest.approx(0.880797)]),
        ("multilabel", nn.BCEWithLogitsLoss(), [[3.0, 3.0]], [[1.0, 0.0]], ["no", "no;yes", ""]),
        ("regression", nn.MSELoss(), [[1.5, 2.0]], [[1.0, 0.0]], ["1;0", "1.5;2", ""]),
    ],
)
def test_worst_samples_table_fits_every_task(
    task: Task, loss: nn.Module, pred: list[Any], target: list[Any], row: list[Any], files: Files, leave: Any
) -> None:
    callback = WorstSamples(ValidationSamples(task, labels=("no", "yes")), loss, leave)
    callback.on_fit_end(run_validation(callback, (pred, target)))
    (found,) = read_table(files["worst_samples.csv"][1])[1:]
    assert [*found[5:7], float(found[7]) if found[7] else ""] == row
    assert float(found[4]) == pytest.approx(float(loss(torch.tensor(pred), torch.tensor(target))))
    assert "worst_samples.png" not in files  # the dataset has rows instead of images


@pytest.mark.parametrize("kind", ["confusion", "worst"])
def test_resumed_attempt_without_validation_saves_the_last_artifacts(kind: str, files: Files, leave: Any) -> None:
    def make() -> Callback:
        watched = ValidationSamples(labels=("cat", "dog"))
        return ConfusionMatrix(watched, leave) if kind == "confusion" else WorstSamples(watched, LOSS, leave)

    first, second = make(), make()
    state = run_validation(first, ([[4.0, 0.0], [0.0, 4.0]], [0, 0]))
    first.on_fit_end(state)
    expected = dict(files)
    files.clear()
    second.load_state_dict(first.state_dict())
    second.on_fit_end(state)
    assert files == expected
    assert files


def test_interrupted_run_saves_no_artifacts(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples(labels=("cat", "dog")), leave)
    state = run_validation(callback, ([[4.0, 0.0]], [0]))
    state.phase = "train"
    callback.on_fit_end(state)
    assert not files


LOSS = nn.CrossEntropyLoss()


@pytest.mark.parametrize("kind", ["classification", "multilabel"])
def test_labels_of_a_confusion_matrix_are_escaped(kind: Task, files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples(labels=("=1+1", "@b"), task=kind), leave)
    target: list[Any] = [0] if kind == "classification" else [[1.0, 0.0]]
    callback.on_fit_end(run_validation(callback, ([[2.0, 0.0]], target)))
    table = read_table(files["confusion_matrix.csv"][1])
    assert [row[0] for row in table[1:]] == ["'=1+1", "'@b"]
    assert kind == "multilabel" or table[0][1:] == ["'=1+1", "'@b"]


def test_names_and_labels_of_the_worst_samples_are_escaped(files: Files, leave: Any) -> None:
    samples = ValidationSamples(labels=("=1+1", "@b"), names=("-x.png",))
    callback = WorstSamples(samples, nn.CrossEntropyLoss(), leave)
    callback.on_fit_end(run_validation(callback, ([[2.0, 0.0]], [1])))
    head, row = read_table(files["worst_samples.csv"][1])
    found = dict(zip(head, row, strict=True))
    assert (found["name"], found["true"], found["predicted"]) == ("'-x.png", "'@b", "'=1+1")


def test_numbers_of_the_worst_samples_are_unchanged(files: Files, leave: Any) -> None:
    callback = WorstSamples(ValidationSamples(labels=("y",), task="regression"), nn.MSELoss(), leave)
    callback.on_fit_end(run_validation(callback, ([[-2.0]], [[-1.5]])))
    head, row = read_table(files["worst_samples.csv"][1])
    found = dict(zip(head, row, strict=True))
    assert (found["true"], found["predicted"]) == ("-1.5", "-2")


def read_document(files: Files, name: str) -> Any:
    media_type, content = files[name]
    assert media_type == "application/json"
    return json.loads(content)


def test_confusion_document_has_the_samples_of_each_cell(files: Files, leave: Any) -> None:
    watched = ValidationSamples(
        labels=("cat", "=dog"), split="train", index=np.array([4, 2, 3, 0]), names=("a", "b", "c", "d", "e")
    )
    callback = ConfusionMatrix(watched, leave)
    state = run_validation(callback, ([[2.0, 0.0], [0.0, 3.0], [0.0, 1.0]], [0, 0, 0]), ([[0.0, 2.0]], [1]))
    callback.on_fit_end(state)
    document = read_document(files, "confusion_matrix.json")
    assert document == {
        "task": "classification",
        "split": "train",
        "num_samples": 4,
        "labels": ["cat", "=dog"],
        "counts": [[1, 2], [0, 1]],
        "cells": [
            {
                "true": "cat",
                "predicted": "=dog",
                "count": 2,
                "samples": [
                    {"index": 2, "name": "c", "confidence": 0.952574},
                    {"index": 3, "name": "d", "confidence": 0.731059},
                ],
            },
            {
                "true": "cat",
                "predicted": "cat",
                "count": 1,
                "samples": [{"index": 4, "name": "e", "confidence": 0.880797}],
            },
            {
                "true": "=dog",
                "predicted": "=dog",
                "count": 1,
                "samples": [{"index": 0, "name": "a", "confidence": 0.880797}],
            },
        ],
    }


def test_class_metrics_and_calibration_are_documents(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples(labels=("cat", "dog")), leave)
    logit = float(np.log(9))  # a confidence of 0.9
    callback.on_fit_end(run_validation(callback, ([[logit, 0.0]] * 3 + [[0.0, logit]], [0, 0, 1, 1])))
    classes = read_document(files, "class_metrics.json")
    assert [row["label"] for row in classes["classes"]] == ["cat", "dog"]
    assert classes["classes"][0] | {"precision": 0, "f1": 0} == {
        "label": "cat",
        "precision": 0,
        "recall": 1.0,
        "f1": 0,
        "support": 2,
    }
    assert classes["classes"][0]["precision"] == pytest.approx(2 / 3)
    assert classes["classes"][0]["f1"] == pytest.approx(0.8)
    calibration = read_document(files, "calibration.json")
    assert calibration["ece"] == pytest.approx(0.9 - 3 / 4, abs=1e-6)
    (used,) = [row for row in calibration["bins"] if row["count"]]
    assert used["from"] < 0.9 <= used["to"]
    assert (used["count"], used["accuracy"]) == (4, 0.75)
    assert len(calibration["bins"]) == 15


def test_multilabel_document_has_cells_of_each_label(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples("multilabel", labels=("red", "round"), names=("a", "b")), leave)
    callback.on_fit_end(run_validation(callback, ([[3.0, -3.0], [3.0, 3.0]], [[1.0, 0.0], [0.0, 1.0]])))
    document = read_document(files, "confusion_matrix.json")
    assert document["counts"] == [[[0, 1], [0, 1]], [[1, 0], [0, 1]]]
    assert document["num_samples"] == 2
    cells = [(cell["label"], cell["true"], cell["predicted"], cell["count"]) for cell in document["cells"]]
    assert cells == [
        ("red", False, True, 1),
        ("red", True, True, 1),
        ("round", False, False, 1),
        ("round", True, True, 1),
    ]
    assert [cell["samples"][0]["name"] for cell in document["cells"]] == ["b", "a", "a", "b"]


def test_snapshot_of_an_earlier_version_has_counts_only(files: Files, leave: Any) -> None:
    callback = ConfusionMatrix(ValidationSamples(labels=("cat", "dog")), leave)
    state = run_validation(callback, ([[4.0, 0.0]], [0]))
    callback.load_state_dict({"counts": [torch.tensor([[[3, 1], [0, 2]]])]})
    callback.on_fit_end(state)
    assert read_document(files, "confusion_matrix.json")["counts"] == [[3, 1], [0, 2]]
    assert read_document(files, "confusion_matrix.json")["cells"] == []
    assert "calibration.json" not in files


def test_worst_samples_are_a_document_with_unchanged_names(files: Files, leave: Any) -> None:
    samples = ValidationSamples(labels=("=1+1", "@b"), names=("-x.png",))
    callback = WorstSamples(samples, nn.CrossEntropyLoss(), leave)
    callback.on_fit_end(run_validation(callback, ([[2.0, 0.0]], [1])))
    document = read_document(files, "worst_samples.json")
    (row,) = document.pop("samples")
    assert document == {"task": "classification", "split": "valid"}
    assert row | {"loss": 0, "probability": 0} == {
        "rank": 1,
        "index": 0,
        "name": "-x.png",
        "loss": 0,
        "true": "@b",
        "predicted": "=1+1",
        "probability": 0,
    }
    assert (row["loss"], row["probability"]) == (pytest.approx(2.126928), pytest.approx(0.880797))


@pytest.mark.parametrize(
    ("task", "loss", "pred", "target", "true", "predicted"),
    [
        ("multilabel", nn.BCEWithLogitsLoss(), [[3.0, 3.0]], [[1.0, 0.0]], ["no"], ["no", "yes"]),
        ("regression", nn.MSELoss(), [[float("nan"), 2.0]], [[1.0, 0.0]], [1.0, 0.0], ["NaN", 2.0]),
    ],
)
def test_several_labels_or_numbers_are_arrays(
    task: Task, loss: nn.Module, pred: Any, target: Any, true: Any, predicted: Any, files: Files, leave: Any
) -> None:
    callback = WorstSamples(ValidationSamples(task, labels=("no", "yes")), loss, leave)
    callback.on_fit_end(run_validation(callback, (pred, target)))
    (row,) = read_document(files, "worst_samples.json")["samples"]
    assert (row["true"], row["predicted"], row["probability"]) == (true, predicted, None)
    assert (row["loss"] == "Infinity") == (task == "regression")
