"""Creates the torchmetrics metric for a metric name and a task."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, classification, regression

Task = Literal["classification", "binary", "multilabel", "regression"]
GREATER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "auroc", "r2")


class UnsupportedTask(ValueError):
    """The metric is not defined for the targets of this task."""


def build_classification_metric(
    kind: str,
    task: Task,
    num_outputs: int,
    *,
    threshold: float = 0.5,
    **options: Any,  # noqa: ANN401
) -> Metric:
    """Create the metric `kind` ("Accuracy", "Precision", …) for the task.

    Raises:
        UnsupportedTask: the task has no classes.
    """
    match task:
        case "classification":
            return _get_metric_class(f"Multiclass{kind}")(num_classes=num_outputs, validate_args=False, **options)
        case "multilabel":
            return _get_metric_class(f"Multilabel{kind}")(
                num_labels=num_outputs, validate_args=False, **_get_threshold_options(kind, threshold), **options
            )
        case "binary":
            supported = {name: value for name, value in options.items() if name != "average"}
            return _get_metric_class(f"Binary{kind}")(
                validate_args=False, **_get_threshold_options(kind, threshold), **supported
            )
        case "regression":
            raise UnsupportedTask(f"{kind} requires classes; the dataset's targets are numbers")


def _get_metric_class(name: str) -> Callable[..., Metric]:
    cls: Callable[..., Metric] = getattr(classification, name)
    return cls


def _get_threshold_options(kind: str, threshold: float) -> dict[str, float]:
    return {} if kind == "AUROC" else {"threshold": threshold}


def build_mean_absolute_error() -> Metric:
    """Build the mean absolute error."""
    return regression.MeanAbsoluteError()


def build_mean_squared_error(*, root: bool = False) -> Metric:
    """Build the mean squared error, or with `root` the root mean squared error."""
    return regression.MeanSquaredError(squared=not root)


def build_r2_score(num_outputs: int) -> Metric:
    """Build the coefficient of determination, averaged over outputs."""
    return _FlatR2Score(num_outputs)


class _FlatR2Score(regression.R2Score):
    """R2Score that accepts a single output as (N, 1). torchmetrics requires (N,)."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self._is_single = num_outputs == 1

    def update(self, preds: Tensor, target: Tensor) -> None:
        if self._is_single:
            preds, target = preds.flatten(), target.flatten()
        super().update(preds, target)


class MicroAuroc(classification.BinaryAUROC):
    """Micro-averaged AUROC: the area under one ROC curve over all one-vs-rest scores.

    For AUROC, torchmetrics supports the micro average only for multilabel targets.
    """

    def __init__(self, num_classes: int, thresholds: int | None) -> None:
        super().__init__(thresholds=thresholds, validate_args=False)
        self._num_classes = num_classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Add probabilities (B, C) and classes (B,)."""
        super().update(preds.flatten(), torch.nn.functional.one_hot(target, self._num_classes).flatten())


def build_adapter(task: Task) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return a function that converts raw scores and targets to the inputs of the task's metrics."""
    match task:
        case "classification":
            return lambda raw, target: (torch.softmax(raw, dim=1), target)
        case "binary" | "multilabel":
            return lambda raw, target: (torch.sigmoid(raw), target.long())
        case "regression":
            return lambda raw, target: (raw, target)


def get_direction(monitor: str) -> Literal["min", "max"]:
    """Return the direction for `mode: auto`: "max" for scores such as accuracy, "min" for losses and errors."""
    name = monitor.split("_", 1)[-1]
    return "max" if name.startswith(GREATER_IS_BETTER) or name.endswith("accuracy") else "min"
