"""Saves the samples with the highest losses of the last validation, as a table, a contact sheet and JSON."""

import csv
import io
import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from core.csv_output import escape_cell
from worker.engine import plots
from worker.engine.callback import Callback, SaveArtifact
from worker.engine.callbacks import evaluation_documents as documents
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.evaluation import THRESHOLD, compute_probabilities
from worker.engine.losses import UnreducedLoss
from worker.engine.state import RunState

TABLE, IMAGE, DOCUMENT = "worst_samples.csv", "worst_samples.png", "worst_samples.json"
COLUMNS = ("rank", "split", "index", "name", "loss", "true", "predicted", "probability")
SampleTensors = dict[str, Tensor]


class WorstSamples(Callback):
    """Keeps the `count` validation samples with the highest losses, computed with the training loss."""

    is_optional: ClassVar[bool] = True

    def __init__(
        self, samples: ValidationSamples, loss: nn.Module, save_artifact: SaveArtifact, *, count: int = 25
    ) -> None:
        self._samples, self._per_sample_loss, self._save_artifact, self._count = (
            samples,
            UnreducedLoss(loss),
            save_artifact,
            count,
        )
        self._epoch_worst: SampleTensors = {}
        self._num_seen = 0
        self.worst: SampleTensors = {}

    def on_valid_begin(self, state: RunState) -> None:
        self._epoch_worst, self._num_seen = {}, 0

    def on_valid_batch_after_pred(self, state: RunState) -> None:
        assert state.pred is not None  # noqa: S101 - set before this hook
        assert state.target is not None  # noqa: S101
        places = torch.arange(self._num_seen, self._num_seen + len(state.pred), device=state.pred.device)
        self._num_seen += len(state.pred)
        batch = {
            "loss": self._per_sample_loss(state.pred, state.target).nan_to_num(nan=torch.inf),
            "place": places,
            "target": state.target,
            "probability": compute_probabilities(state.pred, self._samples.task),
        }
        candidates = {
            name: torch.cat([self._epoch_worst[name], new]) if self._epoch_worst else new for name, new in batch.items()
        }
        worst = candidates["loss"].argsort(descending=True, stable=True)[: self._count]
        self._epoch_worst = {name: values[worst] for name, values in candidates.items()}

    def on_valid_end(self, state: RunState) -> None:
        self.worst = {name: values.cpu() for name, values in self._epoch_worst.items()}

    def on_fit_end(self, state: RunState) -> None:
        if not self.worst or not state.is_done:
            return
        rows = [self._format_row(rank) for rank in range(len(self.worst["loss"]))]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(map(self._escape_names, rows))
        self._save_artifact(TABLE, "text/csv", text.getvalue().encode())
        document = {"task": self._samples.task, "split": self._samples.split, "samples": self._list_samples(rows)}
        self._save_artifact(DOCUMENT, documents.JSON, documents.encode_document(document))
        images = self._samples.images
        if images is not None and np.ndim(images) == 4:
            captions = [
                f"{plots.shorten_label(row['true'])} → {plots.shorten_label(row['predicted'])}\nloss {row['loss']:.3g}"
                for row in rows
            ]
            sheet = plots.plot_contact_sheet([np.asarray(images[row["index"]]) for row in rows], captions)
            self._save_artifact(IMAGE, plots.PNG, sheet)

    def _format_row(self, rank: int) -> dict[str, Any]:
        true, predicted, probability = self._format_decision(
            self.worst["target"][rank], self.worst["probability"][rank]
        )
        return {
            "rank": rank + 1,
            "split": self._samples.split,
            **self._samples.describe_sample(int(self.worst["place"][rank])),
            "loss": float(self.worst["loss"][rank]),
            "true": true,
            "predicted": predicted,
            "probability": probability,
        }

    def _list_samples(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows as JSON values: arrays in place of joined labels or numbers, null for no probability."""
        samples = []
        for rank, row in enumerate(rows):
            sample = {name: value for name, value in row.items() if name != "split"}
            sample["loss"] = _to_json_number(row["loss"])
            if row["probability"] == "":
                sample |= self._list_values(rank) | {"probability": None}
            samples.append(sample)
        return samples

    def _list_values(self, rank: int) -> dict[str, list[Any]]:
        """Return the labels of a multilabel sample, or the numbers of a regression."""
        values = {"true": self.worst["target"][rank], "predicted": self.worst["probability"][rank]}
        if self._samples.task == "regression":
            return {name: [_to_json_number(each) for each in numbers.tolist()] for name, numbers in values.items()}
        return {name: self._list_labels(flags) for name, flags in values.items()}

    def _list_labels(self, probabilities: Tensor) -> list[str]:
        flags = (probabilities > THRESHOLD).tolist()
        return [label for label, is_there in zip(self._samples.labels, flags, strict=True) if is_there]

    def _escape_names(self, row: dict[str, Any]) -> dict[str, Any]:
        # The targets and predictions of a regression are numbers, which are joined to strings.
        columns = ("name",) if self._samples.task == "regression" else ("name", "true", "predicted")
        return row | {column: escape_cell(row[column]) for column in columns}

    def _format_decision(self, target: Tensor, probability: Tensor) -> tuple[str, str, float | str]:
        """Return the target, the prediction and the confidence. Multiple labels or numbers are joined by semicolons."""
        labels = self._samples.labels
        match self._samples.task:
            case "classification":
                best = int(probability.argmax())
                return labels[int(target)], labels[best], float(probability[best])
            case "binary":
                second = float(probability)
                return labels[int(target)], labels[int(second > THRESHOLD)], max(second, 1 - second)
            case "multilabel":
                return _join_values(self._list_labels(target)), _join_values(self._list_labels(probability)), ""
            case "regression":
                return _join_values(target.tolist()), _join_values(probability.tolist()), ""

    def state_dict(self) -> dict[str, Any]:
        return {"worst": self.worst}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.worst = {name: values.cpu() for name, values in state_dict["worst"].items()}


def _join_values(parts: list[Any]) -> str:
    return ";".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in parts)


def _to_json_number(value: float) -> float | str:
    """Return a finite number unchanged, and NaN or infinity as a string, because JSON has neither."""
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
