"""Creates the torchmetrics metric for a metric name and a task.

torchmetrics is imported by the first metric: it imports scipy, matplotlib and torchvision, which takes five seconds.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

if TYPE_CHECKING:
    from torchmetrics import Metric

Task = Literal["classification", "binary", "multilabel", "regression"]
AurocAverage = Literal["macro", "weighted", "micro", "none"]


class UnsupportedTask(ValueError):
    """The metric is not defined for the targets of this task."""


def build_classification_metric(
    kind: str,
    task: Task,
    num_outputs: int,
    *,
    threshold: float = 0.5,
    **options: Any,  # noqa: ANN401
) -> "Metric":
    """Create the metric `kind` ("Accuracy", "AUROC", …) for the task.

    An AUROC leaves out classes that do not occur, see `MulticlassAuroc`.

    Raises:
        UnsupportedTask: the task has no classes.
    """
    if kind == "AUROC" and task != "regression":
        return _build_auroc(task, num_outputs, **options)
    match task:
        case "classification":
            return _get_metric_class(f"Multiclass{kind}")(num_classes=num_outputs, validate_args=False, **options)
        case "multilabel":
            return _get_metric_class(f"Multilabel{kind}")(
                num_labels=num_outputs, validate_args=False, threshold=threshold, **options
            )
        case "binary":
            supported = {name: value for name, value in options.items() if name != "average"}
            return _get_metric_class(f"Binary{kind}")(validate_args=False, threshold=threshold, **supported)
        case "regression":
            raise UnsupportedTask(f"{kind} requires classes; the dataset's targets are numbers")


def _get_metric_class(name: str) -> "Callable[..., Metric]":
    from torchmetrics import classification

    cls: Callable[..., Metric] = getattr(classification, name)
    return cls


def _build_auroc(
    task: Task, num_outputs: int, *, average: AurocAverage = "macro", thresholds: int | None = None
) -> "Metric":
    """Build the exact AUROC, or an approximation with a number of thresholds. A binary task ignores `average`."""
    from worker.engine.metrics.auroc import BinaryAuroc, MicroAuroc, MulticlassAuroc, MultilabelAuroc

    if task == "binary":
        return BinaryAuroc(thresholds)
    if average == "micro":
        return MicroAuroc(num_outputs, thresholds)
    if task == "classification":
        return MulticlassAuroc(num_outputs, average, thresholds)
    return MultilabelAuroc(num_outputs, average, thresholds)


def build_mean_absolute_error() -> "Metric":
    """Build the mean absolute error."""
    from torchmetrics import regression

    return regression.MeanAbsoluteError()


def build_mean_squared_error(*, root: bool = False) -> "Metric":
    """Build the mean squared error, or with `root` the root mean squared error."""
    from torchmetrics import regression

    return regression.MeanSquaredError(squared=not root)


def build_r2_score(num_outputs: int) -> "Metric":
    """Build the coefficient of determination, averaged over outputs."""
    from worker.engine.metrics.r2 import R2Score

    return R2Score(num_outputs)


def build_adapter(task: Task) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return a function that converts raw scores and targets to the inputs of the task's metrics.

    Probabilities are double-precision, so that different scores of a very confident network rarely become equal.
    """
    match task:
        case "classification":
            return lambda raw, target: (torch.softmax(_to_double(raw), dim=1), target)
        case "binary" | "multilabel":
            return lambda raw, target: (torch.sigmoid(_to_double(raw)), target.long())
        case "regression":
            return lambda raw, target: (raw, target)


def _to_double(raw: Tensor) -> Tensor:
    return raw if raw.device.type == "mps" else raw.double()  # MPS has no double precision
