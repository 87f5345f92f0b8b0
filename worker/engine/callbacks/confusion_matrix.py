"""Saves the confusion matrix of the last validation, as a table and as an image."""

import csv
import io
from typing import Any, ClassVar

from torch import Tensor

from core.csv_output import escape_cell
from worker.engine import plots
from worker.engine.callback import Callback, SaveArtifact
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.evaluation import ConfusionMatrixCounts, compute_probabilities, make_decisions
from worker.engine.state import RunState

TABLE, IMAGE = "confusion_matrix.csv", "confusion_matrix.png"


class ConfusionMatrix(Callback):
    """Counts pairs of true and predicted classes during validation.

    For multilabel tasks, only the table is saved, without an image. It has one row of counts per label.
    """

    is_optional: ClassVar[bool] = True

    def __init__(self, samples: ValidationSamples, save_artifact: SaveArtifact) -> None:
        self._samples, self._save_artifact = samples, save_artifact
        self._epoch_counts = self._create_counts()
        self.counts: Tensor | None = None

    def _create_counts(self) -> ConfusionMatrixCounts:
        num_labels = len(self._samples.labels)
        return (
            ConfusionMatrixCounts(2, num_labels)
            if self._samples.task == "multilabel"
            else ConfusionMatrixCounts(num_labels)
        )

    def on_valid_begin(self, state: RunState) -> None:
        self._epoch_counts = self._create_counts()

    def on_valid_batch_after_pred(self, state: RunState) -> None:
        assert state.pred is not None  # noqa: S101 - set before this hook
        assert state.target is not None  # noqa: S101
        task = self._samples.task
        decisions = make_decisions(compute_probabilities(state.pred, task), state.target, task)
        self._epoch_counts.update(decisions.truth.cpu(), decisions.predicted.cpu())

    def on_valid_end(self, state: RunState) -> None:
        self.counts = self._epoch_counts.counts

    def on_fit_end(self, state: RunState) -> None:
        if self.counts is None or not state.is_done:
            return
        self._save_artifact(TABLE, "text/csv", self._format_table(self.counts).encode())
        if len(self.counts) == 1:
            self._save_artifact(
                IMAGE, plots.PNG, plots.plot_confusion_matrix(self.counts[0].numpy(), self._samples.labels)
            )

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
        return {"counts": [] if self.counts is None else [self.counts]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.counts = state_dict["counts"][0].cpu() if state_dict["counts"] else None
