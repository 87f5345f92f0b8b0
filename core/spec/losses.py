"""The losses a job may ask for."""

from typing import Annotated, Literal, NamedTuple

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


class BceSpec(Spec):
    """Binary cross entropy on probabilities; the network must end in `sigmoid`. Source: `torch.nn.BCELoss`.

    `bce_with_logits` on raw scores is the same number, more precisely.
    """

    name: Literal["bce"] = "bce"


class SoftMarginSpec(Spec):
    """The logistic loss of each label, log(1 + exp(-y * score)) with y of -1 or 1.

    Source: `torch.nn.SoftMarginLoss`.
    """

    name: Literal["soft_margin"] = "soft_margin"


class MultiLabelSoftMarginSpec(Spec):
    """The mean over labels of their logistic losses. Source: `torch.nn.MultiLabelSoftMarginLoss`."""

    name: Literal["multilabel_soft_margin"] = "multilabel_soft_margin"


class MultiLabelMarginSpec(Spec):
    """Hinge loss: every present label's score above every absent one's, by 1.

    Source: `torch.nn.MultiLabelMarginLoss`.
    """

    name: Literal["multilabel_margin"] = "multilabel_margin"


class FocalSpec(Spec):
    """Cross entropy that heeds what is hard: each sample counts by (1 - its probability) to the power of `gamma`.

    Source: Lin et al., "Focal Loss for Dense Object Detection", 2017.
    """

    name: Literal["focal"] = "focal"
    gamma: NonNegative = 2.0
    class_weights: Weights | Literal["balanced"] | None = None


class MultiMarginSpec(Spec):
    """Hinge loss: the target's score above every other by a margin. Source: `torch.nn.MultiMarginLoss`."""

    name: Literal["multi_margin"] = "multi_margin"
    p: Literal[1, 2] = 1
    margin: Positive = 1.0
    class_weights: Weights | Literal["balanced"] | None = None


class HuberSpec(Spec):
    """Quadratic below `delta`, linear above with a slope of `delta`. Source: `torch.nn.HuberLoss`."""

    name: Literal["huber"] = "huber"
    delta: Positive = 1.0


class PoissonNllSpec(Spec):
    """For counts; the network gives the logarithm of the rate, unless `log_input` is false.

    Source: `torch.nn.PoissonNLLLoss`.
    """

    name: Literal["poisson_nll"] = "poisson_nll"
    log_input: bool = True
    full: bool = Field(default=False, description="Add Stirling's approximation of the term without the rate.")
    eps: Positive = 1e-8


class KlDivSpec(Spec):
    """For targets that are distributions, several numbers a sample; the network must end in `log_softmax`.

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
    """What a loss compares: `targets` of the dataset with `scores` of the network."""

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
SCORES_BY_LAST_LAYER: dict[
    str, Scores
] = {  # last layers that change what the scores mean; after any other they are raw
    "softmax": "probabilities",
    "sigmoid": "probabilities",
    "log_softmax": "log-probabilities",
}


def list_compatible_losses(targets: Targets) -> frozenset[str]:
    """The losses for such targets."""
    return frozenset(name for name, takes in LOSS_INPUTS.items() if takes.targets == targets)


def build_mismatch_warning(loss: str, last_layer: str | None) -> str | None:
    """What is wrong with a network that ends in `last_layer` under that loss, if anything."""
    inputs, scores = LOSS_INPUTS[loss], SCORES_BY_LAST_LAYER.get(last_layer or "", "raw scores")
    if inputs.scores == scores or (inputs.targets == "numbers" and inputs.scores == "raw scores"):
        return None  # numbers may be bounded by any function
    others = [name for name, other in LOSS_INPUTS.items() if other == LossInputs(inputs.targets, scores)]
    other = f"; {' or '.join(map(repr, others))} would take what it gives" if others else ""
    ends = f"ends in {last_layer!r} and gives {scores}" if scores != "raw scores" else "gives raw scores"
    return f"the loss {loss!r} takes {inputs.scores}, but the network {ends}{other}"
