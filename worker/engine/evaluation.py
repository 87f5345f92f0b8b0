"""Evaluates the predictions for a split: confusion matrix, metrics per class, and calibration.

Axes: B samples of a batch, C outputs.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor

from worker.engine.metrics.factory import Task

THRESHOLD = 0.5


def compute_probabilities(raw: Tensor, task: Task) -> Tensor:
    """Convert raw scores (B, C) to probabilities of the same shape.

    Classification: the probability of each class. Binary: the probability of the second class, (B, 1). Multilabel: the
    probability of each label. Regression outputs are not changed.
    """
    match task:
        case "classification":
            return torch.softmax(raw, dim=1)
        case "binary" | "multilabel":
            return torch.sigmoid(raw)
        case "regression":
            return raw


class Decisions(NamedTuple):
    """True and predicted classes, (N,) each, and the confidence of each prediction, (N,) in 0..1."""

    truth: Tensor
    predicted: Tensor
    confidence: Tensor


def make_decisions(probability: Tensor, targets: Tensor, task: Task) -> Decisions:
    """Return one decision per sample or, for multilabel tasks, per sample and label: absent (0) or present (1)."""
    if task == "classification":
        confidence, predicted = probability.max(dim=1)
        return Decisions(targets.long(), predicted, confidence)
    flat = probability.flatten()
    predicted = (flat > THRESHOLD).long()
    return Decisions(targets.flatten().long(), predicted, torch.where(predicted == 1, flat, 1 - flat))


class ConfusionMatrixCounts:
    """Counts how often each true class (row) is predicted as each class (column), in `num_tables` separate tables."""

    def __init__(self, num_classes: int, num_tables: int = 1) -> None:
        self._size = num_classes
        self.counts = torch.zeros(num_tables, num_classes, num_classes, dtype=torch.int64)

    def update(self, truth: Tensor, predicted: Tensor) -> None:
        """Count pairs of a true and a predicted class, (N,) each.

        With several tables, pair i belongs to table i modulo `num_tables`.
        """
        num_tables = len(self.counts)
        table = torch.arange(len(truth)) % num_tables
        cells = (table * self._size + truth) * self._size + predicted
        self.counts += torch.bincount(cells, minlength=self.counts.numel()).reshape(self.counts.shape)

    def compute_class_metrics(self) -> list[dict[str, float | int]]:
        """Return the metrics of every class, see the function `compute_class_metrics`."""
        return compute_class_metrics(self.counts)


def compute_class_metrics(counts: Tensor) -> list[dict[str, float | int]]:
    """Return precision, recall, F1 and support of every class.

    With several tables, return the metrics of the class "present" in each table. Ratios with denominator 0 are 0.

    Args:
        counts: int64, (T, C, C): tables with true classes as rows and predicted classes as columns.
    """
    counts = counts.double()
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
    """Compares the confidence and the accuracy of predictions, in confidence bins of equal width.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017 (ECE).
    """

    def __init__(self, num_bins: int) -> None:
        self._num_bins = num_bins
        self._count = torch.zeros(num_bins, dtype=torch.float64)
        self._confidence = torch.zeros(num_bins, dtype=torch.float64)
        self._right = torch.zeros(num_bins, dtype=torch.float64)

    def update(self, confidence: Tensor, is_right: Tensor) -> None:
        """Add the confidence of predictions, (N,), and whether each prediction is correct, (N,)."""
        edges = torch.linspace(0, 1, self._num_bins + 1)[1:-1]
        bin_index = torch.bucketize(confidence, edges)  # a bin includes its upper edge
        for sums, values in ((self._count, None), (self._confidence, confidence), (self._right, is_right)):
            weights = None if values is None else values.double()
            sums += torch.bincount(bin_index, weights=weights, minlength=self._num_bins)

    @property
    def ece(self) -> float:
        """The expected calibration error: mean of |accuracy - confidence| over bins, weighted by samples per bin."""
        total = float(self._count.sum())
        return float((self._right - self._confidence).abs().sum()) / total if total else 0.0

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums of each bin."""
        return {"count": self._count, "confidence": self._confidence, "right": self._right}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Set the sums of each bin."""
        self._count, self._confidence, self._right = (
            state_dict[name].cpu().clone() for name in ("count", "confidence", "right")
        )

    def build_bins(self) -> list[dict[str, float | int | None]]:
        """Return all bins in ascending order of confidence. The confidence and accuracy of an empty bin are None."""
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
    """Accumulates the confusion matrix and the calibration of a split."""

    def __init__(self, task: Task, num_outputs: int, num_bins: int) -> None:
        self._task = task
        single = num_outputs if task == "classification" else 2
        self._confusion = ConfusionMatrixCounts(single, num_outputs if task == "multilabel" else 1)
        self._calibration = CalibrationError(num_bins)

    def update(self, raw: Tensor, targets: Tensor) -> None:
        """Add a batch: raw scores (B, C) and targets, on any device. Regression batches are ignored."""
        if self._task == "regression":
            return
        decisions = make_decisions(compute_probabilities(raw.cpu(), self._task), targets.cpu(), self._task)
        self._confusion.update(decisions.truth, decisions.predicted)
        self._calibration.update(decisions.confidence, decisions.predicted == decisions.truth)

    def to_dict(self, labels: list[str]) -> dict[str, Any]:
        """Return the report as JSON values. `labels`: the names of the classes or labels."""
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
