"""Which of torchmetrics' classes a metric is, by task."""

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor
from torchmetrics import Metric, classification, regression

Task = Literal["classification", "binary", "multilabel", "regression"]
GREATER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "auroc", "r2")


class WrongTask(ValueError):
    """The metric has no meaning for these targets."""


def classify(kind: str, task: Task, num_outputs: int, *, threshold: float = 0.5, **options: Any) -> Metric:  # noqa: ANN401
    """The `kind` ("Accuracy", "Precision", …) of the task's family.

    Raises:
        WrongTask: the task has no classes.
    """
    match task:
        case "classification":
            return _class(f"Multiclass{kind}")(num_classes=num_outputs, validate_args=False, **options)
        case "multilabel":
            return _class(f"Multilabel{kind}")(
                num_labels=num_outputs, validate_args=False, **_threshold(kind, threshold), **options
            )
        case "binary":
            kept = {name: value for name, value in options.items() if name != "average"}
            return _class(f"Binary{kind}")(validate_args=False, **_threshold(kind, threshold), **kept)
        case "regression":
            raise WrongTask(f"{kind} needs classes; the dataset's targets are numbers")


def _class(name: str) -> Callable[..., Metric]:
    cls: Callable[..., Metric] = getattr(classification, name)
    return cls


def _threshold(kind: str, threshold: float) -> dict[str, float]:
    return {} if kind == "AUROC" else {"threshold": threshold}


def mean_absolute_error() -> Metric:
    return regression.MeanAbsoluteError()


def mean_squared_error(*, root: bool = False) -> Metric:
    return regression.MeanSquaredError(squared=not root)


def r2(num_outputs: int) -> Metric:
    """The mean over outputs."""
    return _Flat(num_outputs)


class _Flat(regression.R2Score):
    """R2Score takes (N,) for one output, where a network gives (N, 1)."""

    def __init__(self, num_outputs: int) -> None:
        super().__init__()
        self._is_single = num_outputs == 1

    def update(self, preds: Tensor, target: Tensor) -> None:
        if self._is_single:
            preds, target = preds.flatten(), target.flatten()
        super().update(preds, target)


class MicroAuroc(classification.BinaryAUROC):
    """One curve of the decisions on all classes, each against the rest; torchmetrics has it of labels alone."""

    def __init__(self, num_classes: int, thresholds: int | None) -> None:
        super().__init__(thresholds=thresholds, validate_args=False)
        self._num_classes = num_classes

    def update(self, preds: Tensor, target: Tensor) -> None:
        """Take probabilities (B, C) and classes (B,)."""
        super().update(preds.flatten(), torch.nn.functional.one_hot(target, self._num_classes).flatten())


def adapter(task: Task) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """From raw scores and targets to what the task's metrics take."""
    match task:
        case "classification":
            return lambda raw, target: (torch.softmax(raw, dim=1), target)
        case "binary" | "multilabel":
            return lambda raw, target: (torch.sigmoid(raw), target.long())
        case "regression":
            return lambda raw, target: (raw, target)


def direction(monitor: str) -> Literal["min", "max"]:
    """What `mode: auto` means: up for shares of right answers, down for losses and errors."""
    name = monitor.split("_", 1)[-1]
    return "max" if name.startswith(GREATER_IS_BETTER) or name.endswith("accuracy") else "min"
