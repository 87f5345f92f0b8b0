"""What a network's answers to a whole split amount to: confusion, a table by class, calibration, ranked classes.

Axes: B samples of a batch, C outputs; probabilities are float32 and on the CPU.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.engine.metrics.factory import Task

THRESHOLD = 0.5


def compute_probabilities(raw: Tensor, task: Task) -> Tensor:
    """Of raw scores (B, C): of each class, of the second of two (B, 1), of each label; values stay as they are."""
    match task:
        case "classification":
            return torch.softmax(raw, dim=1)
        case "binary" | "multilabel":
            return torch.sigmoid(raw)
        case "regression":
            return raw


class Decisions(NamedTuple):
    """Decisions laid beside the truth, each (N,): `truth` and `predicted` are classes, `confidence` is 0..1."""

    truth: Tensor
    predicted: Tensor
    confidence: Tensor


def make_decisions(probability: Tensor, targets: Tensor, task: Task) -> Decisions:
    """One decision a sample; of several labels, N = B * C decisions between absent (0) and present (1)."""
    if task == "classification":
        confidence, predicted = probability.max(dim=1)
        return Decisions(targets.long(), predicted, confidence)
    flat = probability.flatten()
    predicted = (flat > THRESHOLD).long()
    return Decisions(targets.flatten().long(), predicted, torch.where(predicted == 1, flat, 1 - flat))


class ConfusionMatrixCounts:
    """How often a class (row) was taken for another (column), in each of `num_tables` tables."""

    def __init__(self, num_classes: int, num_tables: int = 1) -> None:
        self._size = num_classes
        self.counts = torch.zeros(num_tables, num_classes, num_classes, dtype=torch.int64)

    def update(self, truth: Tensor, predicted: Tensor) -> None:
        """Take decisions (N,); with several tables they go round them: N = B * num_tables."""
        num_tables = len(self.counts)
        table = torch.arange(len(truth)) % num_tables
        cells = (table * self._size + truth) * self._size + predicted
        self.counts += torch.bincount(cells, minlength=self.counts.numel()).reshape(self.counts.shape)

    def compute_class_metrics(self) -> list[dict[str, float | int]]:
        """Precision, recall, F1 and support of every class of the only table, or of "present" in every table.

        What would be a division by zero is 0.
        """
        counts = self.counts.double()
        if len(counts) == 1:
            hit, predicted, support = counts[0].diagonal(), counts[0].sum(dim=0), counts[0].sum(dim=1)
        else:
            hit, predicted, support = counts[:, 1, 1], counts[:, :, 1].sum(dim=1), counts[:, 1, :].sum(dim=1)
        precision, recall, f1 = _divide(hit, predicted), _divide(hit, support), _divide(2 * hit, predicted + support)
        return [
            {"precision": p, "recall": r, "f1": f, "support": int(n)}
            for p, r, f, n in zip(precision.tolist(), recall.tolist(), f1.tolist(), support.tolist(), strict=True)
        ]


class CalibrationError:
    """Whether decisions made with a confidence of p are right in a share p of all cases, in bins of equal width.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017 (ECE).
    """

    def __init__(self, num_bins: int) -> None:
        self._num_bins = num_bins
        self._count = torch.zeros(num_bins, dtype=torch.float64)
        self._confidence = torch.zeros(num_bins, dtype=torch.float64)
        self._right = torch.zeros(num_bins, dtype=torch.float64)

    def update(self, confidence: Tensor, is_right: Tensor) -> None:
        """Take decisions, both (N,)."""
        edges = torch.linspace(0, 1, self._num_bins + 1)[1:-1]
        place = torch.bucketize(confidence, edges)  # a bin holds its upper edge
        for sums, values in ((self._count, None), (self._confidence, confidence), (self._right, is_right)):
            weights = None if values is None else values.double()
            sums += torch.bincount(place, weights=weights, minlength=self._num_bins)

    @property
    def ece(self) -> float:
        """The expected calibration error: the gap of every bin, weighted by its samples."""
        total = float(self._count.sum())
        return float((self._right - self._confidence).abs().sum()) / total if total else 0.0

    def build_bins(self) -> list[dict[str, float | int | None]]:
        """All bins by rising confidence; means are null where there are no samples."""
        width = 1 / self._num_bins
        rows = zip(self._count.tolist(), self._confidence.tolist(), self._right.tolist(), strict=True)
        return [
            {
                "from": i * width,
                "to": (i + 1) * width,
                "count": int(count),
                "confidence": confidence / count if count else None,
                "accuracy": right / count if count else None,
            }
            for i, (count, confidence, right) in enumerate(rows)
        ]


class EvaluationReport:
    """Everything that is measured of decisions beside the metrics that were asked for."""

    def __init__(self, task: Task, num_outputs: int, num_bins: int) -> None:
        self._task = task
        single = num_outputs if task == "classification" else 2
        self._confusion = ConfusionMatrixCounts(single, num_outputs if task == "multilabel" else 1)
        self._calibration = CalibrationError(num_bins)

    def update(self, raw: Tensor, targets: Tensor) -> None:
        """Take a batch: raw scores (B, C) and targets, wherever they are; of numbers nothing is judged."""
        if self._task == "regression":
            return
        decisions = make_decisions(compute_probabilities(raw.cpu(), self._task), targets.cpu(), self._task)
        self._confusion.update(decisions.truth, decisions.predicted)
        self._calibration.update(decisions.confidence, decisions.predicted == decisions.truth)

    def to_dict(self, labels: list[str]) -> dict[str, Any]:
        """JSON values; `labels`: the name of every row."""
        if self._task == "regression":
            return {}
        counts, table = self._confusion.counts, self._confusion.compute_class_metrics()
        return {
            "classes": [{"label": label, **row} for label, row in zip(labels, table, strict=True)],
            "confusion_matrix": (counts[0] if len(counts) == 1 else counts).tolist(),
            "calibration": {"ece": self._calibration.ece, "bins": self._calibration.build_bins()},
        }


def _divide(part: Tensor, whole: Tensor) -> Tensor:
    return torch.where(whole > 0, part / whole.clamp(min=1), torch.zeros_like(part))
