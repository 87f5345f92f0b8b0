"""Saves the confusion matrix of the last validation as a table, an image and JSON, with metrics and calibration."""

import csv
import io
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor

from core.csv_output import escape_cell
from worker.engine import plots
from worker.engine.callback import Callback, SaveArtifact
from worker.engine.callbacks import evaluation_documents as documents
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.confusion_cells import CellSamples, CellSampleSelector
from worker.engine.evaluation import (
    CalibrationError,
    ConfusionMatrixCounts,
    Decisions,
    compute_class_metrics,
    compute_probabilities,
    make_decisions,
)
from worker.engine.state import RunState

TABLE, IMAGE = "confusion_matrix.csv", "confusion_matrix.png"
NUM_BINS = 15


@dataclass
class _ValidationResults:
    """The sums of one validation."""

    counts: ConfusionMatrixCounts
    calibration: CalibrationError
    cells: CellSampleSelector


class ConfusionMatrix(Callback):
    """Counts pairs of true and predicted classes during validation, and keeps samples of each pair.

    For multilabel tasks, the table has one row of counts per label, and there is no image.

    Args:
        samples: the samples that are validated.
        save_artifact: stores a file.
        num_bins: the number of bins of the calibration. Default: 15, as in Guo et al., 2017.
    """

    is_optional: ClassVar[bool] = True

    def __init__(self, samples: ValidationSamples, save_artifact: SaveArtifact, *, num_bins: int = NUM_BINS) -> None:
        self._samples, self._save_artifact, self._num_bins = samples, save_artifact, num_bins
        self._results = self._create_results()
        self.counts: Tensor | None = None
        self._calibration: CalibrationError | None = None  # None if an earlier version stored the snapshot
        self._cells: CellSamples = {}

    def _create_results(self) -> _ValidationResults:
        num_labels = len(self._samples.labels)
        size = (2, num_labels) if self._samples.task == "multilabel" else (num_labels, 1)
        return _ValidationResults(
            ConfusionMatrixCounts(*size), CalibrationError(self._num_bins), CellSampleSelector(*size)
        )

    def on_valid_begin(self, state: RunState) -> None:
        self._results = self._create_results()

    def on_valid_batch_after_pred(self, state: RunState) -> None:
        assert state.pred is not None  # noqa: S101 - set before this hook
        assert state.target is not None  # noqa: S101
        task = self._samples.task
        truth, predicted, confidence = make_decisions(compute_probabilities(state.pred, task), state.target, task)
        decisions = Decisions(truth.cpu(), predicted.cpu(), confidence.float().cpu())
        self._results.counts.update(decisions.truth, decisions.predicted)
        self._results.calibration.update(decisions.confidence, decisions.predicted == decisions.truth)
        self._results.cells.update(decisions)

    def on_valid_end(self, state: RunState) -> None:
        self.counts = self._results.counts.counts
        self._calibration = self._results.calibration
        self._cells = self._results.cells.select()

    def on_fit_end(self, state: RunState) -> None:
        if self.counts is None or not state.is_done:
            return
        self._save_artifact(TABLE, "text/csv", self._format_table(self.counts).encode())
        if len(self.counts) == 1:
            image = plots.plot_confusion_matrix(self.counts[0].numpy(), self._samples.labels)
            self._save_artifact(IMAGE, plots.PNG, image)
        metrics = compute_class_metrics(self.counts)
        self._save_document(
            documents.CONFUSION, documents.build_confusion_document(self._samples, self.counts, self._cells)
        )
        self._save_document(documents.CLASSES, documents.build_class_document(self._samples, self.counts, metrics))
        if self._calibration is not None:
            report = documents.build_calibration_document(self._samples, self.counts, self._calibration)
            self._save_document(documents.CALIBRATION, report)

    def _save_document(self, name: str, document: dict[str, Any]) -> None:
        self._save_artifact(name, documents.JSON, documents.encode_document(document))

    def _format_table(self, counts: Tensor) -> str:
        text, labels = io.StringIO(), [escape_cell(label) for label in self._samples.labels]
        writer = csv.writer(text, lineterminator="\n")
        if len(counts) == 1:
            writer.writerow(["true \\ predicted", *labels])
            writer.writerows([label, *row] for label, row in zip(labels, counts[0].tolist(), strict=True))
        else:
            writer.writerow(["label", "true_negative", "false_positive", "false_negative", "true_positive"])
            writer.writerows([label, *row] for label, row in zip(labels, counts.flatten(1).tolist(), strict=True))
        return text.getvalue()

    def state_dict(self) -> dict[str, Any]:
        return {
            "counts": [] if self.counts is None else [self.counts],
            "calibration": {} if self._calibration is None else self._calibration.state_dict(),
            "cells": self._cells,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counts = state_dict["counts"][0].cpu() if state_dict["counts"] else None
        self._cells = {name: values.cpu() for name, values in state_dict.get("cells", {}).items()}
        self._calibration = None
        if calibration := state_dict.get("calibration"):  # absent in snapshots of earlier versions
            self._calibration = CalibrationError(self._num_bins)
            self._calibration.load_state_dict(calibration)
