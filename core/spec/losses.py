"""The losses a job may ask for."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import NonNegative, Positive, Probability, Spec

Weights = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1, max_length=100_000)]


class CrossEntropySpec(Spec):
    """Cross entropy on logits, one class a sample. Source: `torch.nn.CrossEntropyLoss`."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Probability = 0.0
    class_weights: Weights | Literal["balanced"] | None = Field(
        default=None, description="One weight a class, or `balanced`: inversely proportional to its frequency."
    )


class NllSpec(Spec):
    """Negative log likelihood; the network must end in `log_softmax`. Source: `torch.nn.NLLLoss`."""

    name: Literal["nll"] = "nll"
    class_weights: Weights | Literal["balanced"] | None = None


class MseSpec(Spec):
    """Mean squared error. Source: `torch.nn.MSELoss`."""

    name: Literal["mse"] = "mse"


class L1Spec(Spec):
    """Mean absolute error. Source: `torch.nn.L1Loss`."""

    name: Literal["l1"] = "l1"


class SmoothL1Spec(Spec):
    """Quadratic below `beta`, linear above. Source: `torch.nn.SmoothL1Loss`."""

    name: Literal["smooth_l1"] = "smooth_l1"
    beta: Positive = 1.0


class BceWithLogitsSpec(Spec):
    """Binary cross entropy on logits, for binary and multi-label targets. Source: `torch.nn.BCEWithLogitsLoss`."""

    name: Literal["bce_with_logits"] = "bce_with_logits"
    pos_weight: Weights | None = None


LossSpec = Annotated[
    CrossEntropySpec | NllSpec | MseSpec | L1Spec | SmoothL1Spec | BceWithLogitsSpec,
    Field(discriminator="name"),
]
