"""Builds the JSON files of an evaluation: confusion matrix with samples, metrics of each class, calibration."""

import json
from typing import Any

from torch import Tensor

from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.confusion_cells import CellSamples
from worker.engine.evaluation import CalibrationError

JSON = "application/json"
CONFUSION, CLASSES, CALIBRATION = "confusion_matrix.json", "class_metrics.json", "calibration.json"


def encode_document(document: dict[str, Any]) -> bytes:
    """Return a document as JSON."""
    return json.dumps(document, allow_nan=False, separators=(",", ":")).encode()


def build_confusion_document(samples: ValidationSamples, counts: Tensor, chosen: CellSamples) -> dict[str, Any]:
    """Return the counts and the selected samples of each cell.

    Args:
        samples: the samples that were evaluated.
        counts: (T, C, C), with true classes as rows; T is the number of labels for multilabel tasks, otherwise 1.
        chosen: selected decisions, as `CellSampleSelector.select` returns them; empty if they are not known.
    """
    cells: dict[tuple[int, int, int], list[dict[str, Any]]] = {}
    if chosen:
        columns = (chosen[name].tolist() for name in ("table", "truth", "predicted", "place", "confidence"))
        for table, truth, predicted, place, confidence in zip(*columns, strict=True):
            sample = samples.describe_sample(place) | {"confidence": round(confidence, 6)}
            cells.setdefault((table, truth, predicted), []).append(sample)
    numbers = {cell: int(counts[cell]) for cell in cells}
    order = sorted(cells, key=lambda cell: (cell[1] == cell[2], -numbers[cell], cell))
    return {
        **_describe_evaluation(samples, counts),
        "counts": (counts[0] if len(counts) == 1 else counts).tolist(),
        "cells": [_name_cell(samples, cell) | {"count": numbers[cell], "samples": cells[cell]} for cell in order],
    }


def build_class_document(
    samples: ValidationSamples, counts: Tensor, metrics: list[dict[str, float | int]]
) -> dict[str, Any]:
    """Return precision, recall, F1 and support of each class, as `ConfusionMatrixCounts` computes them."""
    rows = [{"label": label, **row} for label, row in zip(samples.labels, metrics, strict=True)]
    return {**_describe_evaluation(samples, counts), "classes": rows}


def build_calibration_document(
    samples: ValidationSamples, counts: Tensor, calibration: CalibrationError
) -> dict[str, Any]:
    """Return the expected calibration error and the bins of a reliability diagram."""
    return {
        **_describe_evaluation(samples, counts),
        "source": "Guo et al., On Calibration of Modern Neural Networks, 2017",
        "ece": calibration.ece,
        "bins": calibration.build_bins(),
    }


def _describe_evaluation(samples: ValidationSamples, counts: Tensor) -> dict[str, Any]:
    return {
        "task": samples.task,
        "split": samples.split,
        "num_samples": int(counts[0].sum()),
        "labels": list(samples.labels),
    }


def _name_cell(samples: ValidationSamples, cell: tuple[int, int, int]) -> dict[str, Any]:
    """Return the true and the predicted class of a cell; for multilabel tasks, whether a label is there."""
    table, truth, predicted = cell
    if samples.task == "multilabel":
        return {"label": samples.labels[table], "true": bool(truth), "predicted": bool(predicted)}
    return {"true": samples.labels[truth], "predicted": samples.labels[predicted]}
