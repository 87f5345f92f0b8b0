"""Defines the specs of the optimizers, with the names and defaults of torch."""

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from core.spec import optimizer_fields as fields
from core.spec.base import Count, Pattern, Spec
from core.spec.optimizer_base import DECAY_DESCRIPTION, GroupedSpec, OptimizerBase


class SgdSpec(GroupedSpec):
    """Stochastic gradient descent. Source: `torch.optim.SGD`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["sgd"] = "sgd"
    lr: fields.Lr = 1e-2
    momentum: fields.Momentum = 0.0
    dampening: fields.Dampening = 0.0
    weight_decay: fields.WeightDecay = 0.0
    nesterov: fields.Nesterov = False

    @model_validator(mode="after")
    def _check_nesterov(self) -> Self:
        if self.nesterov and (self.momentum <= 0 or self.dampening != 0):
            raise ValueError("nesterov requires a momentum above 0 and a dampening of 0")
        return self


class AdamSpec(GroupedSpec):
    """Adam. Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", 2014; `torch.optim.Adam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adam"] = "adam"
    lr: fields.Lr = 1e-3
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.0
    amsgrad: fields.Amsgrad = False


class AdamWSpec(GroupedSpec):
    """Adam with decoupled weight decay. Source: Loshchilov and Hutter, 2017; `torch.optim.AdamW`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adamw"] = "adamw"
    lr: fields.Lr = 1e-3
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 1e-2
    amsgrad: fields.Amsgrad = False
    decay_norms_and_biases: bool = Field(default=False, description=DECAY_DESCRIPTION)


class NAdamSpec(GroupedSpec):
    """Adam with Nesterov momentum. Source: Dozat, 2016; `torch.optim.NAdam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["nadam"] = "nadam"
    lr: fields.Lr = 2e-3
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.0
    momentum_decay: fields.MomentumDecay = 4e-3
    decoupled_weight_decay: fields.DecoupledDecay = False


class RAdamSpec(GroupedSpec):
    """Adam with a rectified variance of the adaptive learning rate. Source: Liu et al., 2019; `torch.optim.RAdam`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["radam"] = "radam"
    lr: fields.Lr = 1e-3
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.0
    decoupled_weight_decay: fields.DecoupledDecay = False


class AdamaxSpec(GroupedSpec):
    """Adam with the infinity norm. Source: Kingma and Ba, 2014, section 7; `torch.optim.Adamax`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["adamax"] = "adamax"
    lr: fields.Lr = 2e-3
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.0


class AdafactorSpec(GroupedSpec):
    """Adam with factored second moments, which use less memory. Source: Shazeer, 2018; `torch.optim.Adafactor`."""

    name: Literal["adafactor"] = "adafactor"
    lr: fields.Lr = 1e-2
    beta2_decay: fields.Beta2Decay = -0.8
    d: Annotated[float, Field(ge=1.0, le=1e12, description="The maximum root mean square of an update.")] = 1.0
    weight_decay: fields.WeightDecay = 0.0


class MuonSpec(GroupedSpec):
    """Orthogonalized momentum for matrices and, with `convolutions`, for kernels. AdamW updates all other parameters.

    If `adjust_lr` is `match_rms_adamw`, Muon and AdamW can use the same learning rate. To update the other parameters
    with a different optimizer, use Muon as a part of `several`.
    Source: Jordan, 2024; `torch.optim.Muon`.
    """

    name: Literal["muon"] = "muon"
    lr: fields.Lr = 1e-3
    momentum: fields.MuonMomentum = 0.95
    nesterov: fields.Nesterov = True
    ns_steps: Annotated[int, Field(ge=1, le=99, description="The number of Newton-Schulz iterations.")] = 5
    adjust_lr: Literal["original", "match_rms_adamw"] = Field(
        default="match_rms_adamw", description="How the learning rate is adapted to the shape of each matrix."
    )
    convolutions: bool = Field(
        default=False,
        description="Whether Muon also updates the kernels of 2-d convolutions, as matrices "
        "(outputs, inputs * height * width).",
    )
    constant_norm: bool = Field(
        default=False,
        description="Whether kernels keep a norm of sqrt(outputs), instead of weight decay. Requires `convolutions`.",
    )
    betas: fields.Betas = (0.9, 0.999)
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.1
    decay_norms_and_biases: bool = Field(default=False, description=DECAY_DESCRIPTION)

    @model_validator(mode="after")
    def _check_constant_norm(self) -> Self:
        if self.constant_norm and not self.convolutions:
            raise ValueError("constant_norm applies to kernels of convolutions: set convolutions to true")
        return self


class RmspropSpec(GroupedSpec):
    """RMSprop. Source: Hinton's lecture 6e, 2012; `torch.optim.RMSprop`."""

    has_momentum: ClassVar[bool] = True

    name: Literal["rmsprop"] = "rmsprop"
    lr: fields.Lr = 1e-2
    alpha: fields.SquareDecay = 0.99
    eps: fields.Eps = 1e-8
    weight_decay: fields.WeightDecay = 0.0
    momentum: fields.Momentum = 0.0
    centered: fields.Centered = False


class AdagradSpec(GroupedSpec):
    """Adagrad. Source: Duchi, Hazan and Singer, 2011; `torch.optim.Adagrad`."""

    name: Literal["adagrad"] = "adagrad"
    lr: fields.Lr = 1e-2
    lr_decay: fields.LrDecay = 0.0
    weight_decay: fields.WeightDecay = 0.0
    initial_accumulator_value: fields.InitialAccumulator = 0.0
    eps: fields.Eps = 1e-10


class AdadeltaSpec(GroupedSpec):
    """Adadelta. Source: Zeiler, 2012; `torch.optim.Adadelta`."""

    name: Literal["adadelta"] = "adadelta"
    lr: fields.Lr = 1.0
    rho: fields.SquareDecay = 0.9
    eps: fields.Eps = 1e-6
    weight_decay: fields.WeightDecay = 0.0


class AsgdSpec(GroupedSpec):
    """Averaged stochastic gradient descent. Source: Polyak and Juditsky, 1992; `torch.optim.ASGD`."""

    name: Literal["asgd"] = "asgd"
    lr: fields.Lr = 1e-2
    lambd: fields.Lambd = 1e-4
    alpha: fields.AsgdPower = 0.75
    t0: fields.AveragingStart = 1e6
    weight_decay: fields.WeightDecay = 0.0


class RpropSpec(OptimizerBase):
    """Resilient propagation, which uses only the signs of gradients. Source: Riedmiller and Braun, 1993;
    `torch.optim.Rprop`.
    """

    name: Literal["rprop"] = "rprop"
    lr: fields.Lr = 1e-2
    etas: fields.Etas = (0.5, 1.2)
    step_sizes: fields.StepSizes = (1e-6, 50.0)


class LbfgsSpec(OptimizerBase):
    """L-BFGS, which evaluates the loss several times per step. Use it with few, large batches and fp32.

    Source: Nocedal and Wright, "Numerical Optimization", 2006; `torch.optim.LBFGS`.
    """

    requires_closure: ClassVar[bool] = True

    name: Literal["lbfgs"] = "lbfgs"
    lr: fields.Lr = 1.0
    max_iter: fields.MaxIterations = 20
    max_eval: Count | None = Field(default=None, description="Loss evaluations per step; default: 5/4 of `max_iter`.")
    tolerance_grad: fields.GradientTolerance = 1e-7
    tolerance_change: fields.ChangeTolerance = 1e-9
    history_size: fields.HistorySize = 100
    line_search_fn: Literal["strong_wolfe"] | None = Field(default=None, description="The line search. Default: none.")


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
"""Optimizers that can be a part of `several`."""

UNSUPPORTED_PARTS = {
    "lbfgs": "requires all parameters: use it alone, or use another optimizer here",
    "several": "cannot be nested; list its parts here",
}


class OptimizerPartSpec(Spec):
    """An optimizer for parameters whose names match `match`, except parameters that an earlier part matches."""

    match: Pattern = Field(examples=["*weight"])
    optimizer: Annotated[PartSpec, Field(discriminator="name")] = Field(description="The optimizer of the parameters.")

    @field_validator("optimizer", mode="before")
    @classmethod
    def _check_part_optimizer(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        name = value.get("name") if isinstance(value, dict) else None
        if isinstance(name, str) and name in UNSUPPORTED_PARTS:
            raise ValueError(f"{name!r} {UNSUPPORTED_PARTS[name]}")
        return value


class CompositeOptimizerSpec(OptimizerBase):
    """Several optimizers, each for some parameters. A parameter belongs to the first part that matches its name.

    Each part has its own learning rate. Schedules and searches set the learning rate of the first part, for example to
    `max_lr`. The other parts keep the ratio of their learning rates to it. The curve `lr` shows the first part.
    Source: `set_optimizers` of luz.
    """

    name: Literal["several"] = "several"
    parts: Annotated[
        tuple[OptimizerPartSpec, ...], Field(strict=False, max_length=20, json_schema_extra={"minItems": 2})
    ] = Field(
        description="The optimizers, each with a pattern for the names of its parameters.",
        examples=[
            [
                {"match": "*weight", "optimizer": {"name": "sgd", "momentum": 0.9}},
                {"match": "*", "optimizer": {"name": "adam"}},
            ]
        ],
    )

    @field_validator("parts")
    @classmethod
    def _check_num_parts(cls, parts: tuple[OptimizerPartSpec, ...]) -> tuple[OptimizerPartSpec, ...]:
        """Reject a single part. Unlike `min_length`, this check runs only if all parts are valid."""
        if len(parts) < 2:
            raise ValueError(f"must have 2 to 20 parts; got {len(parts)}. Use a single optimizer without 'several'")
        return parts


OptimizerSpec = Annotated[PartSpec | LbfgsSpec | CompositeOptimizerSpec, Field(discriminator="name")]
