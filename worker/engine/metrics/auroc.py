"""AUROC of tasks with and without absent classes. A class without positive or negative samples has no area.

torchmetrics sets the area of such a class to 0 and includes it in the mean.

Axes: N samples, C classes or labels, T thresholds.
"""

from typing import Literal

import torch
from torch import Tensor
from torchmetrics import classification
from torchmetrics.functional.classification import binary_auroc
from torchmetrics.utilities.data import dim_zero_cat

Average = Literal["macro", "weighted", "none"]


class BinaryAuroc(classification.BinaryAUROC):
    """The area of one ROC curve. NaN if all targets are equal."""

    def __init__(self, thresholds: int | None) -> None:
        super().__init__(thresholds=thresholds, validate_args=False)
        self._is_exact = thresholds is None

    def compute(self) -> Tensor:  # type: ignore[override]  # as in torchmetrics
        """Return the area, a scalar."""
        if self._is_exact:
            return _compute_exact_areas(dim_zero_cat(self.preds)[:, None], dim_zero_cat(self.target)[:, None])[0]
        return _compute_binned_areas(self.confmat[:, None])[0][0]


class MicroAuroc(BinaryAuroc):
    """Micro-averaged AUROC: the area under one ROC curve over all one-vs-rest scores, or over all labels."""

    def __init__(self, num_classes: int, thresholds: int | None) -> None:
        super().__init__(thresholds)
        self._num_classes = num_classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add probabilities (B, C), and classes (B,) or labels (B, C)."""
        if target.ndim == 1:
            target = torch.nn.functional.one_hot(target, self._num_classes)
        super().update(preds.flatten(), target.flatten())


class MulticlassAuroc(classification.MulticlassAUROC):
    """The area of each class against the rest, or the mean over the classes that have an area."""

    def __init__(self, num_classes: int, average: Average, thresholds: int | None) -> None:
        super().__init__(num_classes, average="none", thresholds=thresholds, validate_args=False)
        self._is_exact, self._reduction = thresholds is None, average

    def compute(self) -> Tensor:  # type: ignore[override]  # as in torchmetrics
        """Return a scalar, or (C,) for `average="none"`."""
        if self._is_exact:
            target = torch.nn.functional.one_hot(dim_zero_cat(self.target), self.num_classes)
            areas, positives = _compute_exact_areas(dim_zero_cat(self.preds), target), target.sum(dim=0)
        else:
            areas, positives = _compute_binned_areas(self.confmat)
        return _reduce_areas(areas, positives, self._reduction)


class MultilabelAuroc(classification.MultilabelAUROC):
    """The area of each label, or the mean over the labels that have an area."""

    def __init__(self, num_labels: int, average: Average, thresholds: int | None) -> None:
        super().__init__(num_labels, average="none", thresholds=thresholds, validate_args=False)
        self._is_exact, self._reduction = thresholds is None, average

    def compute(self) -> Tensor:  # type: ignore[override]  # as in torchmetrics
        """Return a scalar, or (C,) for `average="none"`."""
        if self._is_exact:
            target = dim_zero_cat(self.target)
            areas, positives = _compute_exact_areas(dim_zero_cat(self.preds), target), target.sum(dim=0)
        else:
            areas, positives = _compute_binned_areas(self.confmat)
        return _reduce_areas(areas, positives, self._reduction)


def _compute_exact_areas(preds: Tensor, target: Tensor) -> Tensor:
    """Return the area of each column of (N, C) as a tensor (C,), NaN for a column without positives or negatives."""
    positives, nan = target.sum(dim=0).tolist(), preds.new_tensor(float("nan"))
    return torch.stack(
        [
            binary_auroc(preds[:, column], target[:, column], validate_args=False) if 0 < count < len(target) else nan
            for column, count in enumerate(positives)
        ]
    )


def _compute_binned_areas(counts: Tensor) -> tuple[Tensor, Tensor]:
    """Return the areas (C,), NaN where they are not defined, and the number of positives (C,).

    The curve starts at (0, 0), which torchmetrics omits if probabilities are equal to the last threshold, 1.

    `counts`: confusion matrices (T, C, 2, 2), indexed by target and prediction.
    """
    totals = counts[0].sum(dim=-1).float()
    rates = counts[:, :, :, 1].float() / totals  # 0 / 0 is NaN, so that the area of an absent class is NaN
    rates = torch.cat([rates, torch.zeros_like(rates[:1])]).flip(0)
    areas = torch.trapezoid(rates[:, :, 1], rates[:, :, 0], dim=0)
    return areas, totals[:, 1]


def _reduce_areas(areas: Tensor, positives: Tensor, average: Average) -> Tensor:
    """Return the mean of the defined areas, or NaN if no area is defined."""
    if average == "none":
        return areas
    is_defined = ~torch.isnan(areas)
    if average == "macro":
        return areas[is_defined].mean()
    weights = positives[is_defined].to(areas.dtype)
    return (areas[is_defined] * (weights / weights.sum())).sum() if len(weights) else areas.new_tensor(float("nan"))
