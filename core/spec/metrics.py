"""The metrics a job may ask for; a plain string such as `"accuracy"` stands for the metric with its defaults."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from core.spec.base import FieldError, Probability, Spec

Average = Literal["macro", "micro", "weighted"]


class _Metric(Spec):
    name: str
    on: Literal["both", "train", "valid"] = Field(
        default="both", description="In a training: what it is measured on. Test samples count as those that validate."
    )

    @property
    def key(self) -> str:
        """The name under which values appear, after the split: `valid_<key>`."""
        return self.name

    @property
    def is_curve(self) -> bool:
        """One number, which an epoch has; else it is a table of an evaluation."""
        return True

    def applies_to(self, split: str) -> bool:
        """Whether it is measured on that set in a training."""
        return self.on in ("both", split)

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield what does not fit a dataset of this task and number of classes."""
        yield from ()


class AccuracySpec(_Metric):
    """Share of samples whose most probable class is the target; for several labels, of labels right at `threshold`."""

    name: Literal["accuracy"] = "accuracy"
    threshold: Probability = 0.5


class TopKSpec(_Metric):
    """Share of samples whose target is among the `k` most probable classes; its key is `top_<k>_accuracy`."""

    name: Literal["top_k"] = "top_k"
    k: Annotated[int, Field(ge=1, le=10_000)] = 5

    @property
    def key(self) -> str:
        return f"top_{self.k}_accuracy"

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield an error where `k` is larger than the number of classes."""
        if self.k > num_classes:
            yield "/k", f"must be at most {num_classes}, the number of classes; got {self.k}"


class PrecisionSpec(_Metric):
    """True positives over predicted positives."""

    name: Literal["precision"] = "precision"
    average: Average = "macro"
    threshold: Probability = 0.5


class RecallSpec(_Metric):
    """True positives over actual positives."""

    name: Literal["recall"] = "recall"
    average: Average = "macro"
    threshold: Probability = 0.5


class F1Spec(_Metric):
    """Harmonic mean of precision and recall."""

    name: Literal["f1"] = "f1"
    average: Average = "macro"
    threshold: Probability = 0.5


class AurocSpec(_Metric):
    """Area under the ROC curve, one class against the rest; exact unless `thresholds` bins are asked for.

    Source: luz_metric_multiclass_auroc, which has 200 thresholds.
    """

    name: Literal["auroc"] = "auroc"
    average: Literal["macro", "weighted", "micro", "none"] = Field(
        default="macro",
        description="`micro`: one curve of all decisions, whatever their class. `none`: one area a class, in the last "
        "evaluation and not as a curve.",
    )
    thresholds: Annotated[int, Field(ge=2, le=10_000)] | None = None

    @property
    def is_curve(self) -> bool:
        return self.average != "none"

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield an error for an average over classes where the task has one curve."""
        if task == "binary" and self.average in ("micro", "none"):
            yield "/average", f"{self.average!r} requires several classes; a binary task has one curve"


class MaeSpec(_Metric):
    """Mean absolute error."""

    name: Literal["mae"] = "mae"


class MseMetricSpec(_Metric):
    """Mean squared error."""

    name: Literal["mse"] = "mse"


class RmseSpec(_Metric):
    """Root of the mean squared error."""

    name: Literal["rmse"] = "rmse"


class R2Spec(_Metric):
    """Coefficient of determination."""

    name: Literal["r2"] = "r2"


class ConfusionMatrixSpec(_Metric):
    """Counts, rows are targets and columns predictions; reported by the last evaluation, not as a curve."""

    name: Literal["confusion_matrix"] = "confusion_matrix"

    @property
    def is_curve(self) -> bool:
        return False


def _parse_string(value: Any) -> Any:  # noqa: ANN401 - whatever the client sent
    return {"name": value} if isinstance(value, str) else value


_MetricObject = Annotated[
    AccuracySpec
    | TopKSpec
    | PrecisionSpec
    | RecallSpec
    | F1Spec
    | AurocSpec
    | MaeSpec
    | MseMetricSpec
    | RmseSpec
    | R2Spec
    | ConfusionMatrixSpec,
    Field(discriminator="name"),
]
_MetricName = Literal[
    "accuracy", "top_k", "precision", "recall", "f1", "auroc", "mae", "mse", "rmse", "r2", "confusion_matrix"
]
MetricSpec = Annotated[
    _MetricObject, BeforeValidator(_parse_string, json_schema_input_type=_MetricObject | _MetricName)
]


def list_curves(metrics: Sequence[MetricSpec]) -> list[str]:
    """Return the names of the curves that a job with these metrics has: `<valid|train>_<key>`, the loss among them."""
    return [
        f"{split}_{key}"
        for split in ("valid", "train")
        for key in ("loss", *(metric.key for metric in metrics if metric.is_curve and metric.applies_to(split)))
    ]
