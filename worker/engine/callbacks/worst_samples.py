"""Leaves the samples with the highest losses of the last epoch's validation, as a table and as a contact sheet."""

import csv
import io
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from worker.engine import plots
from worker.engine.callback import Callback, Leave
from worker.engine.callbacks.validation_samples import ValidationSamples
from worker.engine.evaluation import THRESHOLD, probabilities
from worker.engine.losses import PerSampleLoss
from worker.engine.state import RunState

TABLE, IMAGE = "worst_samples.csv", "worst_samples.png"
COLUMNS = ("rank", "split", "index", "name", "loss", "true", "predicted", "probability")
Kept = dict[str, Tensor]


class WorstSamples(Callback):
    """Keeps `count` samples while the network is validated, by the loss that the run is trained with."""

    is_optional: ClassVar[bool] = True

    def __init__(self, watched: ValidationSamples, loss: nn.Module, leave: Leave, *, count: int = 25) -> None:
        self._watched, self._each, self._leave, self._count = watched, PerSampleLoss(loss), leave, count
        self._found: Kept = {}
        self._num_seen = 0
        self.worst: Kept = {}

    def on_valid_begin(self, state: RunState) -> None:
        self._found, self._num_seen = {}, 0

    def on_valid_batch_after_pred(self, state: RunState) -> None:
        assert state.pred is not None  # noqa: S101 - just made
        assert state.target is not None  # noqa: S101
        places = torch.arange(self._num_seen, self._num_seen + len(state.pred), device=state.pred.device)
        self._num_seen += len(state.pred)
        here = {
            "loss": self._each(state.pred, state.target).nan_to_num(nan=torch.inf),
            "place": places,
            "target": state.target,
            "probability": probabilities(state.pred, self._watched.task),
        }
        together = {name: torch.cat([self._found[name], new]) if self._found else new for name, new in here.items()}
        worst = together["loss"].argsort(descending=True, stable=True)[: self._count]
        self._found = {name: values[worst] for name, values in together.items()}

    def on_valid_end(self, state: RunState) -> None:
        self.worst = {name: values.cpu() for name, values in self._found.items()}

    def on_fit_end(self, state: RunState) -> None:
        if not self.worst or not state.is_done:
            return
        rows = [self._row(rank) for rank in range(len(self.worst["loss"]))]
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self._leave(TABLE, "text/csv", text.getvalue().encode())
        images = self._watched.images
        if images is not None and np.ndim(images) == 4:
            captions = [
                f"{plots.short(row['true'])} → {plots.short(row['predicted'])}\nloss {row['loss']:.3g}" for row in rows
            ]
            sheet = plots.contact_sheet([np.asarray(images[row["index"]]) for row in rows], captions)
            self._leave(IMAGE, plots.PNG, sheet)

    def _row(self, rank: int) -> dict[str, Any]:
        place = int(self.worst["place"][rank])
        index = place if self._watched.index is None else int(self._watched.index[place])
        true, predicted, probability = self._words(self.worst["target"][rank], self.worst["probability"][rank])
        return {
            "rank": rank + 1,
            "split": self._watched.split,
            "index": index,
            "name": self._watched.names[index] if self._watched.names else "",
            "loss": float(self.worst["loss"][rank]),
            "true": true,
            "predicted": predicted,
            "probability": probability,
        }

    def _words(self, target: Tensor, probability: Tensor) -> tuple[str, str, float | str]:
        """What it is, what it was taken for, and how surely; of several labels or numbers all, with semicolons."""
        labels = self._watched.labels
        match self._watched.task:
            case "classification":
                best = int(probability.argmax())
                return labels[int(target)], labels[best], float(probability[best])
            case "binary":
                second = float(probability)
                return labels[int(target)], labels[int(second > THRESHOLD)], max(second, 1 - second)
            case "multilabel":
                given = (
                    _joined([label for label, is_there in zip(labels, flags, strict=True) if is_there])
                    for flags in ((target > THRESHOLD).tolist(), (probability > THRESHOLD).tolist())
                )
                return next(given), next(given), ""
            case "regression":
                return _joined(target.tolist()), _joined(probability.tolist()), ""

    def state_dict(self) -> dict[str, Any]:
        return {"worst": self.worst}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        self.worst = {name: values.cpu() for name, values in saved["worst"].items()}


def _joined(parts: list[Any]) -> str:
    return ";".join(f"{part:.6g}" if isinstance(part, float) else str(part) for part in parts)
