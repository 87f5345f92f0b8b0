"""Builds torchmetrics metrics for the dataset's task."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, assert_never

from core.datasets.packed import PackedMeta
from core.errors import InvalidSpec
from core.spec import JobSpec, metrics
from worker.builders.losses import build_target_scaler
from worker.builders.task_defaults import TASK_DEFAULTS
from worker.engine.device import Placement
from worker.engine.losses import TargetScaler
from worker.engine.metrics import factory
from worker.engine.metrics.accumulator import MetricAccumulator

if TYPE_CHECKING:
    from torchmetrics import Metric


def make_metric(spec: metrics.MetricSpec, meta: PackedMeta) -> "Metric":
    """Build a metric from its spec.

    Raises:
        InvalidSpec: the metric is not compatible with the dataset's task.
    """
    classify = partial(factory.build_classification_metric, task=meta.task, num_outputs=meta.num_outputs)
    try:
        match spec:
            case metrics.AccuracySpec(threshold=threshold):
                return classify("Accuracy", threshold=threshold, average="micro")
            case metrics.TopKSpec(k=k):
                if meta.task != "classification" or k > meta.num_outputs:
                    raise InvalidSpec(
                        f"top_k with k = {k} requires one class per sample and at least {k} classes; "
                        f"the dataset's task is {meta.task} ({meta.num_outputs} outputs)"
                    )
                return classify("Accuracy", top_k=k, average="micro")
            case metrics.PrecisionSpec(threshold=threshold, average=average):
                return classify("Precision", threshold=threshold, average=average)
            case metrics.RecallSpec(threshold=threshold, average=average):
                return classify("Recall", threshold=threshold, average=average)
            case metrics.F1Spec(threshold=threshold, average=average):
                return classify("F1Score", threshold=threshold, average=average)
            case metrics.AurocSpec(average=average, thresholds=thresholds):
                if average in ("micro", "none") and meta.task == "binary":
                    raise InvalidSpec(f"auroc: average {average!r} requires more than two classes")
                return classify("AUROC", average=average, thresholds=thresholds)
            case metrics.ConfusionMatrixSpec():
                return classify("ConfusionMatrix")
            case metrics.MaeSpec():
                return factory.build_mean_absolute_error()
            case metrics.MseMetricSpec():
                return factory.build_mean_squared_error()
            case metrics.RmseSpec():
                return factory.build_mean_squared_error(root=True)
            case metrics.R2Spec():
                return factory.build_r2_score(meta.num_outputs)
            case _:
                assert_never(spec)
    except factory.UnsupportedTask as error:
        raise InvalidSpec(f"metric {spec.name!r} is not compatible with the dataset: {error}") from error


def build_accumulator_factory(
    spec: JobSpec, meta: PackedMeta, placement: Placement
) -> Callable[..., MetricAccumulator]:
    """Return a function that builds accumulators of the job's metrics. Default: the default metric of the task.

    Raises:
        InvalidSpec: a callback or the schedule monitors a metric that the job does not compute.
    """
    metric_specs = (TASK_DEFAULTS[meta.task][1],) if spec.metrics is None else spec.metrics
    check_monitors(spec, metric_specs)
    return partial(make_accumulator, metric_specs, meta, placement, scale=build_target_scaler(spec, meta))


def make_accumulator(
    metric_specs: Sequence[metrics.MetricSpec],
    meta: PackedMeta,
    placement: Placement,
    *,
    split: Literal["train", "valid"] | None = None,
    scale: TargetScaler | None = None,
) -> MetricAccumulator:
    """Build an accumulator of metrics.

    Args:
        metric_specs: the specs of the metrics.
        meta: the metadata of the dataset.
        placement: the device of the metrics.
        split: build only the metrics that a training run computes on this split. For the training split, omit metrics
            whose values are tables, such as the confusion matrix. Default: build all metrics.
        scale: the scaler of the targets. Default: targets are not scaled.
    """
    selected = [spec for spec in metric_specs if split is None or spec.applies_to(split)]
    selected = [spec for spec in selected if split != "train" or spec.is_curve]
    metrics_by_key = {spec.key: make_metric(spec, meta).to(placement.device) for spec in selected}
    return MetricAccumulator(
        metrics_by_key, factory.build_adapter(meta.task) if scale is None else scale.build_adapter(placement.device)
    )


def check_monitors(spec: JobSpec, metric_specs: Sequence[metrics.MetricSpec]) -> None:
    """Check that every monitored metric is computed in each epoch.

    Raises:
        InvalidSpec: a callback or the schedule monitors a metric that the job does not compute.
    """
    available = metrics.list_curves(metric_specs, has_validation=spec.dataset.valid != 0)
    monitors = [getattr(part, "monitor", None) for part in (*spec.callbacks, spec.schedule)]
    for monitor in monitors:
        if monitor is not None and monitor not in available:
            raise InvalidSpec(
                f"monitor {monitor!r} is not a metric of this job; its metrics are {', '.join(available)}"
            )
