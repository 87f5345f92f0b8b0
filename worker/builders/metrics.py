"""From a metric in words to one of torchmetrics, for the dataset's task."""

from functools import partial
from typing import assert_never

from torchmetrics import Metric

from core.datasets.packed import PackedMeta
from core.errors import InvalidSpec
from core.spec import metrics
from worker.engine.metrics import factory


def make_metric(spec: metrics.MetricSpec, meta: PackedMeta) -> Metric:
    """A metric for the dataset's task.

    Raises:
        InvalidSpec: it has no meaning for that task.
    """
    classify = partial(factory.build_classification_metric, task=meta.task, num_outputs=meta.num_outputs)
    try:
        match spec:
            case metrics.AccuracySpec(threshold=threshold):
                return classify("Accuracy", threshold=threshold, average="micro")
            case metrics.TopKSpec(k=k):
                if meta.task != "classification" or k > meta.num_outputs:
                    raise InvalidSpec(f"top_k needs one class a sample and at least {k} classes")
                return classify("Accuracy", top_k=k, average="micro")
            case metrics.PrecisionSpec(threshold=threshold, average=average):
                return classify("Precision", threshold=threshold, average=average)
            case metrics.RecallSpec(threshold=threshold, average=average):
                return classify("Recall", threshold=threshold, average=average)
            case metrics.F1Spec(threshold=threshold, average=average):
                return classify("F1Score", threshold=threshold, average=average)
            case metrics.AurocSpec(average="micro", thresholds=thresholds) if meta.task == "classification":
                return factory.MicroAuroc(meta.num_outputs, thresholds)
            case metrics.AurocSpec(average=average, thresholds=thresholds):
                if average in ("micro", "none") and meta.task == "binary":
                    raise InvalidSpec(f"auroc's average {average!r} is of several classes; two have one curve")
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
        raise InvalidSpec(f"metric {spec.name!r} does not fit: {error}") from error
