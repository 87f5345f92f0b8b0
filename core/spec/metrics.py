"""Defines the specs of the metrics. A string such as `"accuracy"` selects a metric with its default options."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from core.spec.base import FieldError, Probability, Spec

Average = Literal["macro", "micro", "weighted"]
AVERAGE = (
    "`macro`: the mean over the classes. `weighted`: the mean weighted by the number of samples of each class. "
    "`micro`: one value from the decisions of all classes together. As in scikit-learn, ratios with denominator 0 are "
    "0, and `macro` leaves out classes that neither occur in the split nor are predicted."
)
THRESHOLD = "In binary and multi-label tasks, a label is predicted if its probability is above this value."


class _Metric(Spec):
    name: str
    on: Literal["both", "train", "valid"] = Field(
        default="both",
        description="The splits on which a training computes the metric; `valid` includes the test split.",
    )

    @property
    def key(self) -> str:
        """The part of the curve names `train_<key>` and `valid_<key>` that identifies the metric."""
        return self.name

    @property
    def is_curve(self) -> bool:
        """Whether the metric is one number per epoch. Other metrics are tables, reported by the last evaluation."""
        return True

    @property
    def requires_both_outcomes(self) -> bool:
        """Whether a class has a value only if the split has samples with this class and samples without it."""
        return False

    def applies_to(self, split: str) -> bool:
        """Return whether a training job computes the metric on a split."""
        return self.on in ("both", split)

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield an error for each option that is not valid for this task and number of classes."""
        yield from ()


class AccuracySpec(_Metric):
    """Fraction of samples whose most probable class is the target. Multi-label tasks: fraction of correct labels."""

    name: Literal["accuracy"] = "accuracy"
    threshold: Probability = Field(default=0.5, description=THRESHOLD)


class TopKSpec(_Metric):
    """Fraction of samples whose target is among the `k` most probable classes. Named `top_<k>_accuracy` in curves."""

    name: Literal["top_k"] = "top_k"
    k: Annotated[
        int, Field(ge=1, le=10_000, description="The number of most probable classes to search for the target.")
    ] = 5

    @property
    def key(self) -> str:
        return f"top_{self.k}_accuracy"

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield an error if `k` is larger than the number of classes."""
        if self.k > num_classes:
            yield "/k", f"must be at most {num_classes}, the number of classes; got {self.k}"


class PrecisionSpec(_Metric):
    """True positives divided by predicted positives."""

    name: Literal["precision"] = "precision"
    average: Average = Field(default="macro", description=AVERAGE)
    threshold: Probability = Field(default=0.5, description=THRESHOLD)


class RecallSpec(_Metric):
    """True positives divided by actual positives."""

    name: Literal["recall"] = "recall"
    average: Average = Field(default="macro", description=AVERAGE)
    threshold: Probability = Field(default=0.5, description=THRESHOLD)


class F1Spec(_Metric):
    """Harmonic mean of precision and recall."""

    name: Literal["f1"] = "f1"
    average: Average = Field(default="macro", description=AVERAGE)
    threshold: Probability = Field(default=0.5, description=THRESHOLD)


class AurocSpec(_Metric):
    """Area under the ROC curve, one class against the rest.

    Source: luz_metric_multiclass_auroc, which approximates the area with 200 thresholds.
    """

    name: Literal["auroc"] = "auroc"
    average: Literal["macro", "weighted", "micro", "none"] = Field(
        default="macro",
        description="`macro` and `weighted`: mean over the classes that occur in the split. `micro`: one curve for all "
        "classes. `none`: one area per class, reported by the last evaluation only. NaN if all samples of the split "
        "have the same class.",
    )
    thresholds: Annotated[int, Field(ge=2, le=10_000)] | None = Field(
        default=None,
        description="Approximate the area with this number of thresholds. Default: compute the exact area.",
    )

    @property
    def is_curve(self) -> bool:
        return self.average != "none"

    @property
    def requires_both_outcomes(self) -> bool:
        return self.average != "micro"

    def find_class_errors(self, task: str, num_classes: int) -> Iterator[FieldError]:
        """Yield an error if `average` requires several classes but the task is binary."""
        if task == "binary" and self.average in ("micro", "none"):
            yield "/average", f"{self.average!r} requires several classes; a binary task has one curve"


class MaeSpec(_Metric):
    """Mean absolute error."""

    name: Literal["mae"] = "mae"


class MseMetricSpec(_Metric):
    """Mean squared error."""

    name: Literal["mse"] = "mse"


class RmseSpec(_Metric):
    """Square root of the mean squared error."""

    name: Literal["rmse"] = "rmse"


class R2Spec(_Metric):
    """Coefficient of determination (R²)."""

    name: Literal["r2"] = "r2"


class ConfusionMatrixSpec(_Metric):
    """Confusion matrix: rows are targets, columns are predictions. Reported by the last evaluation only."""

    name: Literal["confusion_matrix"] = "confusion_matrix"

    @property
    def is_curve(self) -> bool:
        return False


# Specs expand strings anyway; the validator declares the names in the JSON Schema, and serves code without a spec.
def _parse_string(value: Any) -> Any:  # noqa: ANN401 - any JSON value
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


def list_curves(metrics: Sequence[MetricSpec], *, has_validation: bool = True) -> list[str]:
    """Return the names of the curves of a job with these metrics, including the loss: `<valid|train>_<key>`."""
    return [
        f"{split}_{key}"
        for split in (("valid", "train") if has_validation else ("train",))
        for key in ("loss", *(metric.key for metric in metrics if metric.is_curve and metric.applies_to(split)))
    ]
