"""Defines the specs of the losses, and the kinds of targets and network outputs that each loss requires."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from core.spec.base import NonNegative, Positive, Probability, Spec

CLASS_WEIGHTS = "One weight per class. `balanced`: weights inversely proportional to the class frequencies."
Weights = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1, max_length=100_000)]


class CrossEntropySpec(Spec):
    """Cross entropy on logits, for targets with one class per sample. Source: `torch.nn.CrossEntropyLoss`."""

    name: Literal["cross_entropy"] = "cross_entropy"
    label_smoothing: Probability = Field(
        default=0.0, description="The share of the uniform distribution over all classes in each target."
    )
    class_weights: Weights | Literal["balanced"] | None = Field(
        default=None,
        description="One weight per class. `balanced`: weights inversely proportional to the class frequencies.",
    )


class NllSpec(Spec):
    """Negative log likelihood; the network must end in `log_softmax`. Source: `torch.nn.NLLLoss`."""

    name: Literal["nll"] = "nll"
    class_weights: Weights | Literal["balanced"] | None = Field(default=None, description=CLASS_WEIGHTS)


class MseSpec(Spec):
    """Mean squared error. Source: `torch.nn.MSELoss`."""

    name: Literal["mse"] = "mse"


class L1Spec(Spec):
    """Mean absolute error. Source: `torch.nn.L1Loss`."""

    name: Literal["l1"] = "l1"


class SmoothL1Spec(Spec):
    """Squared error if the error is below `beta`, otherwise absolute error. Source: `torch.nn.SmoothL1Loss`."""

    name: Literal["smooth_l1"] = "smooth_l1"
    beta: Positive = Field(default=1.0, description="The error at which the loss becomes linear.")


class BceWithLogitsSpec(Spec):
    """Binary cross entropy on logits, for binary and multi-label targets. Source: `torch.nn.BCEWithLogitsLoss`."""

    name: Literal["bce_with_logits"] = "bce_with_logits"
    pos_weight: Weights | None = Field(
        default=None, description="One weight per label, by which the loss of positive samples is multiplied."
    )


class BceSpec(Spec):
    """Binary cross entropy on probabilities; the network must end in `sigmoid`. Source: `torch.nn.BCELoss`.

    `bce_with_logits` computes the same loss from raw scores with better numerical stability.
    """

    name: Literal["bce"] = "bce"


class SoftMarginSpec(Spec):
    """The logistic loss of each label: log(1 + exp(-y * score)), where y is -1 or 1.

    Source: `torch.nn.SoftMarginLoss`.
    """

    name: Literal["soft_margin"] = "soft_margin"


class MultiLabelSoftMarginSpec(Spec):
    """The mean of the logistic losses of the labels. Source: `torch.nn.MultiLabelSoftMarginLoss`."""

    name: Literal["multilabel_soft_margin"] = "multilabel_soft_margin"


class MultiLabelMarginSpec(Spec):
    """Hinge loss: the score of each present label should exceed the score of each absent label by 1.

    Source: `torch.nn.MultiLabelMarginLoss`.
    """

    name: Literal["multilabel_margin"] = "multilabel_margin"


class FocalSpec(Spec):
    """Cross entropy weighted by (1 - p) ** gamma, where p is the probability of the target class.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """

    name: Literal["focal"] = "focal"
    gamma: NonNegative = Field(
        default=2.0,
        description="The exponent. Higher values give less weight to samples that are already predicted well.",
    )
    class_weights: Weights | Literal["balanced"] | None = Field(default=None, description=CLASS_WEIGHTS)


class MultiMarginSpec(Spec):
    """Hinge loss: the score of the target should exceed all other scores by `margin`.

    Source: `torch.nn.MultiMarginLoss`.
    """

    name: Literal["multi_margin"] = "multi_margin"
    p: Literal[1, 2] = Field(default=1, description="The exponent of the hinge.")
    margin: Positive = Field(
        default=1.0, description="The required difference between the target's score and every other score."
    )
    class_weights: Weights | Literal["balanced"] | None = Field(default=None, description=CLASS_WEIGHTS)


class HuberSpec(Spec):
    """Squared error below `delta`, linear error with slope `delta` above. Source: `torch.nn.HuberLoss`."""

    name: Literal["huber"] = "huber"
    delta: Positive = Field(default=1.0, description="The error at which the loss becomes linear.")


class PoissonNllSpec(Spec):
    """Negative log likelihood of counts under a Poisson distribution.

    Source: `torch.nn.PoissonNLLLoss`.
    """

    name: Literal["poisson_nll"] = "poisson_nll"
    log_input: bool = Field(default=True, description="Whether the output of the network is the logarithm of the rate.")
    full: bool = Field(default=False, description="Add the Stirling approximation of the constant term.")
    eps: Positive = Field(
        default=1e-8, description="A value added to the network's output to prevent log(0) if `log_input` is false."
    )


class KlDivSpec(Spec):
    """Kullback-Leibler divergence, for targets that are probability distributions.

    The network must end in `log_softmax`.

    Source: `torch.nn.KLDivLoss`, summed over outputs.
    """

    name: Literal["kl_div"] = "kl_div"


LossSpec = Annotated[
    CrossEntropySpec
    | NllSpec
    | FocalSpec
    | MultiMarginSpec
    | MseSpec
    | L1Spec
    | SmoothL1Spec
    | HuberSpec
    | PoissonNllSpec
    | KlDivSpec
    | BceWithLogitsSpec
    | BceSpec
    | SoftMarginSpec
    | MultiLabelSoftMarginSpec
    | MultiLabelMarginSpec,
    Field(discriminator="name"),
]

Targets = Literal["class", "labels", "numbers"]
Scores = Literal["raw scores", "probabilities", "log-probabilities"]


class LossInputs(NamedTuple):
    """The kind of targets and the kind of network outputs that a loss requires."""

    targets: Targets
    scores: Scores


LOSS_INPUTS: dict[str, LossInputs] = {
    "cross_entropy": LossInputs("class", "raw scores"),
    "focal": LossInputs("class", "raw scores"),
    "multi_margin": LossInputs("class", "raw scores"),
    "nll": LossInputs("class", "log-probabilities"),
    "bce_with_logits": LossInputs("labels", "raw scores"),
    "bce": LossInputs("labels", "probabilities"),
    "soft_margin": LossInputs("labels", "raw scores"),
    "multilabel_soft_margin": LossInputs("labels", "raw scores"),
    "multilabel_margin": LossInputs("labels", "raw scores"),
    "mse": LossInputs("numbers", "raw scores"),
    "l1": LossInputs("numbers", "raw scores"),
    "smooth_l1": LossInputs("numbers", "raw scores"),
    "huber": LossInputs("numbers", "raw scores"),
    "poisson_nll": LossInputs("numbers", "raw scores"),
    "kl_div": LossInputs("numbers", "log-probabilities"),
}
SCORES_BY_LAST_LAYER: dict[str, Scores] = {  # networks with other last layers return raw scores
    "softmax": "probabilities",
    "sigmoid": "probabilities",
    "log_softmax": "log-probabilities",
}


def list_compatible_losses(targets: Targets) -> frozenset[str]:
    """Return the names of the losses that accept this kind of targets."""
    return frozenset(name for name, takes in LOSS_INPUTS.items() if takes.targets == targets)


def build_mismatch_warning(loss: str, last_layer: str | None) -> str | None:
    """Return a warning if the loss does not match the last layer of the network, otherwise None."""
    inputs, scores = LOSS_INPUTS[loss], SCORES_BY_LAST_LAYER.get(last_layer or "", "raw scores")
    if inputs.scores == scores or (inputs.targets == "numbers" and inputs.scores == "raw scores"):
        return None  # a regression network may end in any activation
    others = [name for name, other in LOSS_INPUTS.items() if other == LossInputs(inputs.targets, scores)]
    other = f"; use {' or '.join(map(repr, others))} instead" if others else ""
    ends = f"ends in {last_layer!r} and returns {scores}" if scores != "raw scores" else "returns raw scores"
    return f"the loss {loss!r} takes {inputs.scores}, but the network {ends}{other}"
