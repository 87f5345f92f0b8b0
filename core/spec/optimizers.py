"""The optimizers a job may ask for, with torch's own names and defaults."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from core.spec.base import Count, NonNegative, Pattern, Positive, Probability, Spec

Beta = Annotated[float, Field(ge=0.0, lt=1.0)]
Betas = Annotated[tuple[Beta, Beta], Field(strict=False)]
Shrink = Annotated[float, Field(gt=0.0, lt=1.0)]
Grow = Annotated[float, Field(gt=1.0, le=100.0)]
DECAY_DESCRIPTION = "Whether weight decay draws the scales of norms and all biases to zero, too."


class GroupSpec(Spec):
    """Parameters of matching names have a learning rate or a weight decay of their own; the first match counts."""

    match: Pattern
    lr: Positive | None = Field(default=None, description="The optimizer's, unless given; schedules keep the ratio.")
    weight_decay: NonNegative | None = Field(default=None, description="The optimizer's, unless given.")


class OptimizerBase(Spec):
    """Properties of an optimizer that validation reads; an optimizer sets those that apply to it."""

    has_momentum: ClassVar[bool] = False
    """Whether a schedule can change its momentum, or the first of its `betas`."""
    requires_closure: ClassVar[bool] = False
    """Whether it evaluates the loss several times per step, as torch does with a closure."""


class GroupedSpec(OptimizerBase):
    """An optimizer whose parameters may be treated differently."""

    groups: Annotated[tuple[GroupSpec, ...], Field(strict=False, max_length=100)] = ()
    decay_norms_and_biases: bool = Field(default=True, description=DECAY_DESCRIPTION)


class SgdSpec(GroupedSpec):
    """Stochastic gradient descent. Source: `torch.optim.SGD`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["sgd"] = "sgd"
    lr: Positive = 1e-2
    momentum: NonNegative = 0.0
    dampening: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    nesterov: bool = False

    @model_validator(mode="after")
    def _check_nesterov(self) -> Self:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov needs a momentum above 0 and a dampening of 0")
        return self


class AdamSpec(GroupedSpec):
    """Adam. Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014; `torch.optim.Adam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adam"] = "adam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    amsgrad: bool = False


class AdamWSpec(GroupedSpec):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter, 2017; `torch.optim.AdamW`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adamw"] = "adamw"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 1e-2
    amsgrad: bool = False
    decay_norms_and_biases: bool = Field(default=False, description=DECAY_DESCRIPTION)


class NAdamSpec(GroupedSpec):
    """Adam with Nesterov momentum. Source: Dozat, 2016; `torch.optim.NAdam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["nadam"] = "nadam"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    momentum_decay: NonNegative = 4e-3
    decoupled_weight_decay: bool = False


class RAdamSpec(GroupedSpec):
    """Adam that rectifies the variance of its first steps. Source: Liu et al., 2019; `torch.optim.RAdam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["radam"] = "radam"
    lr: Positive = 1e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    decoupled_weight_decay: bool = False


class AdamaxSpec(GroupedSpec):
    """Adam by the infinity norm. Source: Kingma and Ba, 2014, section 7; `torch.optim.Adamax`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adamax"] = "adamax"
    lr: Positive = 2e-3
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0


class AdafactorSpec(GroupedSpec):
    """Adam whose second moments are kept as rows and columns. Source: Shazeer, 2018; `torch.optim.Adafactor`."""

    name: Literal["adafactor"] = "adafactor"
    lr: Positive = 1e-2
    beta2_decay: Annotated[float, Field(ge=-10.0, le=0.0)] = -0.8
    d: Annotated[float, Field(ge=1.0, le=1e12, description="Updates of a root mean square above it are clipped.")] = 1.0
    weight_decay: NonNegative = 0.0


class MuonSpec(GroupedSpec):
    """Orthogonalised momentum for matrices; all that is no matrix (convolutions, norms, biases) goes by AdamW.

    With `adjust_lr` of `match_rms_adamw` one learning rate suits both. Source: Jordan, 2024; `torch.optim.Muon`.
    """

    name: Literal["muon"] = "muon"
    lr: Positive = 1e-3
    momentum: Beta = 0.95
    nesterov: bool = True
    ns_steps: Annotated[int, Field(ge=1, le=99, description="Newton-Schulz iterations.")] = 5
    adjust_lr: Literal["original", "match_rms_adamw"] = "match_rms_adamw"
    betas: Betas = (0.9, 0.999)
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.1
    decay_norms_and_biases: bool = Field(default=False, description=DECAY_DESCRIPTION)


class RmspropSpec(GroupedSpec):
    """RMSprop. Source: Hinton's lecture 6e, 2012; `torch.optim.RMSprop`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["rmsprop"] = "rmsprop"
    lr: Positive = 1e-2
    alpha: Probability = 0.99
    eps: Positive = 1e-8
    weight_decay: NonNegative = 0.0
    momentum: NonNegative = 0.0
    centered: bool = False


class AdagradSpec(GroupedSpec):
    """Adagrad. Source: Duchi, Hazan and Singer, 2011; `torch.optim.Adagrad`."""

    name: Literal["adagrad"] = "adagrad"
    lr: Positive = 1e-2
    lr_decay: NonNegative = 0.0
    weight_decay: NonNegative = 0.0
    initial_accumulator_value: NonNegative = 0.0
    eps: Positive = 1e-10


class AdadeltaSpec(GroupedSpec):
    """Adadelta. Source: Zeiler, 2012; `torch.optim.Adadelta`."""

    name: Literal["adadelta"] = "adadelta"
    lr: Positive = 1.0
    rho: Probability = 0.9
    eps: Positive = 1e-6
    weight_decay: NonNegative = 0.0


class AsgdSpec(GroupedSpec):
    """Averaged stochastic gradient descent. Source: Polyak and Juditsky, 1992; `torch.optim.ASGD`."""

    name: Literal["asgd"] = "asgd"
    lr: Positive = 1e-2
    lambd: NonNegative = 1e-4
    alpha: NonNegative = 0.75
    t0: Positive = 1e6
    weight_decay: NonNegative = 0.0


class RpropSpec(OptimizerBase):
    """Resilient propagation: the signs of gradients alone. Source: Riedmiller and Braun, 1993; `torch.optim.Rprop`."""

    name: Literal["rprop"] = "rprop"
    lr: Positive = 1e-2
    etas: Annotated[tuple[Shrink, Grow], Field(strict=False)] = (0.5, 1.2)
    step_sizes: Annotated[tuple[Positive, Positive], Field(strict=False)] = (1e-6, 50.0)


class LbfgsSpec(OptimizerBase):
    """L-BFGS: several evaluations of the loss a step; made for few, large batches and fp32.

    Source: Nocedal and Wright, "Numerical Optimization", 2006; `torch.optim.LBFGS`.
    """

    requires_closure: ClassVar[bool] = True

    name: Literal["lbfgs"] = "lbfgs"
    lr: Positive = 1.0
    max_iter: Annotated[int, Field(ge=1, le=10_000)] = 20
    max_eval: Count | None = Field(default=None, description="Evaluations a step: 5/4 of `max_iter`, unless given.")
    tolerance_grad: NonNegative = 1e-7
    tolerance_change: NonNegative = 1e-9
    history_size: Annotated[int, Field(ge=1, le=1000)] = 100
    line_search_fn: Literal["strong_wolfe"] | None = None


PartSpec = (
    SgdSpec
    | AdamSpec
    | AdamWSpec
    | NAdamSpec
    | RAdamSpec
    | AdamaxSpec
    | AdafactorSpec
    | MuonSpec
    | RmspropSpec
    | AdagradSpec
    | AdadeltaSpec
    | AsgdSpec
    | RpropSpec
)
"""What may be one of several."""

UNSUPPORTED_PARTS = {
    "lbfgs": "searches along the gradient of all parameters: use it alone, or another one here",
    "several": "cannot be one of several; list its parts here",
}


class OptimizerPartSpec(Spec):
    """Parameters of matching names have this optimizer, unless a part before it matches them."""

    match: Pattern
    optimizer: Annotated[PartSpec, Field(discriminator="name")]

    @field_validator("optimizer", mode="before")
    @classmethod
    def _check_part_optimizer(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the client sent
        name = value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str) and name in UNSUPPORTED_PARTS:
            raise ValueError(f"{name!r} {UNSUPPORTED_PARTS[name]}")
        return value


class CompositeOptimizerSpec(OptimizerBase):
    """Several optimizers, each for the parameters whose names match; every parameter has the first that matches.

    Each part goes by its own rule and learning rate. Where a schedule or a search gives a learning rate in numbers, as
    `max_lr` does, it is the first part's, and the others keep their ratio to it; the curve `lr` is the first part's,
    too. Source: `set_optimizers` of luz.
    """

    name: Literal["several"] = "several"
    parts: Annotated[
        tuple[OptimizerPartSpec, ...], Field(strict=False, max_length=20, json_schema_extra={"minItems": 2})
    ]

    @field_validator("parts")
    @classmethod
    def _check_num_parts(cls, parts: tuple[OptimizerPartSpec, ...]) -> tuple[OptimizerPartSpec, ...]:
        """Unlike `min_length`, it has nothing to say where a part is wrong already."""
        if len(parts) < 2:
            raise ValueError(f"needs 2 to 20 parts, not {len(parts)}; one optimizer alone is given as it is")
        return parts


OptimizerSpec = Annotated[PartSpec | LbfgsSpec | CompositeOptimizerSpec, Field(discriminator="name")]
