"""Defines the default loss and the default metric of each task."""

from core.spec import losses, metrics

TASK_DEFAULTS: dict[str, tuple[losses.LossSpec, metrics.MetricSpec]] = {
    "classification": (losses.CrossEntropySpec(), metrics.AccuracySpec()),
    "binary": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "multilabel": (losses.BceWithLogitsSpec(), metrics.AccuracySpec()),
    "regression": (losses.MseSpec(), metrics.MaeSpec()),
}
