"""Rules for the loss, the metrics, and the metrics that callbacks and schedules monitor."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from app.services.validation.defaults import TASK_DEFAULTS
from app.services.validation.model_job import ModelJobContext
from app.services.validation.report import ValidationReport
from app.services.validation.training import TrainingContext
from core.spec import JobSpec
from core.spec.error_pointers import find_nearest
from core.spec.losses import build_mismatch_warning
from core.spec.metrics import list_curves


def check_loss(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the loss is compatible with the task, and that it has one weight per class or output.

    Warn if the last layer of the network is not suitable for the loss.
    """
    loss, dataset_info = context.spec.loss, context.dataset_info
    if loss is None:
        return
    suitable = TASK_DEFAULTS[dataset_info.task].losses
    if loss.name not in suitable:
        report.add(
            "/loss/name", f"{loss.name!r} does not fit a {dataset_info.task} task; use {format_choices(suitable)}"
        )
        return
    warning = build_mismatch_warning(loss.name, _get_last_layer(context.spec.architecture.options))
    if warning is not None:
        report.warn(warning)
    for field, expected, noun in (
        ("class_weights", len(dataset_info.classes), "class"),
        ("pos_weight", dataset_info.num_outputs, "output"),
    ):
        weights = getattr(loss, field, None)
        if isinstance(weights, tuple) and len(weights) != expected:
            report.add(f"/loss/{field}", f"must have {expected} values, one per {noun}; got {len(weights)}")


def check_metric_keys(context: TrainingContext | ModelJobContext, report: ValidationReport) -> None:
    """Check that no metric is listed twice."""
    keys = set[str]()
    for index, metric in enumerate(getattr(context.spec, "metrics", None) or ()):
        if metric.key in keys:
            report.add(f"/metrics/{index}", f"the metric {metric.key!r} is listed twice")
        keys.add(metric.key)


def check_metrics(context: TrainingContext | ModelJobContext, report: ValidationReport) -> None:
    """Check that each metric is compatible with the task and classes."""
    dataset_info = context.dataset_info
    suitable = TASK_DEFAULTS[dataset_info.task].all_metrics
    for index, metric in enumerate(getattr(context.spec, "metrics", None) or ()):
        pointer = f"/metrics/{index}"
        if metric.name not in suitable:
            reason = f"{metric.name!r} does not fit a {dataset_info.task} task; use {format_choices(suitable)}"
            report.add(f"{pointer}/name", reason)
        report.extend(metric.find_class_errors(dataset_info.task, len(dataset_info.classes)), pointer)


def check_monitors(context: TrainingContext, report: ValidationReport) -> None:
    """Check that every `monitor` of a callback or schedule is a metric that the job records."""
    report.extend(find_monitor_errors(context.spec))


def check_metric_splits(context: TrainingContext, report: ValidationReport) -> None:
    """Check that the job has samples for metrics that are not computed on the training split."""
    dataset = context.spec.dataset
    if dataset.valid != 0 or dataset.test is not None or context.dataset_info.splits.get("test"):
        return
    for index, metric in enumerate(context.spec.metrics or ()):
        if not (metric.is_curve and metric.applies_to("train")):
            report.add(
                f"/metrics/{index}",
                f"{metric.key!r} is computed on validation and test samples, but the job has none; remove it, or set "
                "/dataset/valid to a number above 0",
            )


def find_monitor_errors(spec: JobSpec) -> Iterator[tuple[str, str]]:
    """Yield an error for every `monitor` of a callback or schedule that is not a metric of the job."""
    for pointer, monitor in _find_monitors(spec):
        if reason := find_curve_error(spec, monitor):
            yield pointer, reason


def find_curve_error(spec: JobSpec, name: str) -> str | None:
    """Return why a metric is not one that the job records in every epoch, such as `valid_loss`; None if it is.

    If the task is unknown, the default metrics of every task are accepted.
    """
    metrics = spec.metrics
    if metrics is None:
        metrics = tuple(metric for defaults in TASK_DEFAULTS.values() for metric in defaults.metrics)
    has_validation = spec.dataset.valid != 0
    curves = list(dict.fromkeys(list_curves(metrics, has_validation=has_validation)))
    if name in curves:
        return None
    if not has_validation and name in list_curves(metrics):
        return (
            f"{name!r} requires validation samples, but the job has none; monitor 'train_loss', or set "
            "/dataset/valid to a number above 0"
        )
    candidates = find_nearest(name, curves) or curves
    return f"{name!r} is not a metric of this job; did you mean {format_choices(candidates)}?"


def format_choices(names: Iterable[str]) -> str:
    """Return the sorted names as text, for example `'a' or 'b'`."""
    return " or ".join(map(repr, sorted(names)))


def _find_monitors(spec: JobSpec) -> Iterator[tuple[str, str]]:
    parts = [(f"/callbacks/{index}", callback) for index, callback in enumerate(spec.callbacks)]
    for pointer, part in (*parts, ("/schedule", spec.schedule)):
        monitor = getattr(part, "monitor", None)
        if monitor is not None:
            yield f"{pointer}/monitor", monitor


def _get_last_layer(options: Mapping[str, Any]) -> str | None:
    """Return the type of the last layer in the option `layers`; None if the architecture has no option `layers`."""
    layers = options.get("layers")
    last = layers[-1] if isinstance(layers, Sequence) and layers else None
    return str(last.get("type")) if isinstance(last, Mapping) else None
