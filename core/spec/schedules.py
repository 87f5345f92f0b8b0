"""The learning-rate schedules a job may ask for, each with the breakpoint at which it steps."""

from typing import Annotated, Literal

from pydantic import Field

from core.spec.base import Count, NonNegative, Positive, Probability, Spec

Breakpoint = Literal["epoch_end", "train_batch_end"]
Milestones = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=1000)]
Factor = Annotated[float, Field(gt=0.0, le=1.0)]


class StepSpec(Spec):
    """Multiply the learning rate by `gamma` every `step_size` steps of the schedule. Source: `StepLR`."""

    name: Literal["step"] = "step"
    step_size: Count
    gamma: Positive = 0.1
    call_on: Breakpoint = "epoch_end"


class MultiStepSpec(Spec):
    """Multiply the learning rate by `gamma` at each milestone. Source: `MultiStepLR`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Milestones
    gamma: Positive = 0.1
    call_on: Breakpoint = "epoch_end"


class ExponentialSpec(Spec):
    """Multiply the learning rate by `gamma` at every step of the schedule. Source: `ExponentialLR`."""

    name: Literal["exponential"] = "exponential"
    gamma: Positive = 0.95
    call_on: Breakpoint = "epoch_end"


class LinearSpec(Spec):
    """Go from `start_factor` to `end_factor` of the learning rate in `total_iters` steps. Source: `LinearLR`."""

    name: Literal["linear"] = "linear"
    start_factor: Factor = 1.0 / 3
    end_factor: Probability = 1.0
    total_iters: Count | None = Field(default=None, description="The whole run, unless given.")
    call_on: Breakpoint = "epoch_end"


class PolynomialSpec(Spec):
    """Decay the learning rate to zero as a polynomial of `power`. Source: `PolynomialLR`."""

    name: Literal["polynomial"] = "polynomial"
    power: Positive = 1.0
    total_iters: Count | None = Field(default=None, description="The whole run, unless given.")
    call_on: Breakpoint = "epoch_end"


class CosineSpec(Spec):
    """Cosine annealing to `eta_min`. Source: Loshchilov and Hutter, 2016; `CosineAnnealingLR`."""

    name: Literal["cosine"] = "cosine"
    t_max: Count | None = Field(default=None, description="The whole run, unless given.")
    eta_min: NonNegative = 0.0
    call_on: Breakpoint = "epoch_end"


class CosineWarmRestartsSpec(Spec):
    """Cosine annealing restarted every `t_0` steps, each cycle `t_mult` times longer.

    Source: `CosineAnnealingWarmRestarts`.
    """

    name: Literal["cosine_warm_restarts"] = "cosine_warm_restarts"
    t_0: Count
    t_mult: Count = 1
    eta_min: NonNegative = 0.0
    call_on: Breakpoint = "epoch_end"


class CyclicSpec(Spec):
    """Cycle between `base_lr` and `max_lr`, a step every batch. Source: Smith, 2015; `CyclicLR`."""

    name: Literal["cyclic"] = "cyclic"
    base_lr: Positive
    max_lr: Positive
    step_size_up: Count = 2000
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Positive = 1.0
    call_on: Literal["train_batch_end"] = "train_batch_end"


class OneCycleSpec(Spec):
    """One cycle over the whole run, a step every batch; it moves momentum too.

    Source: Smith and Topin, 2017; `OneCycleLR`.
    """

    name: Literal["one_cycle"] = "one_cycle"
    max_lr: Positive | Literal["auto"] = Field(
        description="`auto`: what `lr_find` would suggest, found before the training begins."
    )
    pct_start: Probability = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = True
    base_momentum: Probability = 0.85
    max_momentum: Probability = 0.95
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    call_on: Literal["train_batch_end"] = "train_batch_end"


class PlateauSpec(Spec):
    """Multiply the learning rate by `factor` when the epoch mean of `monitor` has stopped improving.

    Source: `ReduceLROnPlateau`.
    """

    name: Literal["plateau"] = "plateau"
    monitor: str = Field(default="valid_loss", max_length=100)
    mode: Literal["auto", "min", "max"] = "auto"
    factor: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    patience: Annotated[int, Field(ge=0, le=100_000)] = 10
    threshold: NonNegative = 1e-4
    threshold_mode: Literal["rel", "abs"] = "rel"
    cooldown: Annotated[int, Field(ge=0, le=100_000)] = 0
    min_lr: NonNegative = 0.0
    call_on: Literal["epoch_end"] = "epoch_end"


ScheduleSpec = Annotated[
    StepSpec
    | MultiStepSpec
    | ExponentialSpec
    | LinearSpec
    | PolynomialSpec
    | CosineSpec
    | CosineWarmRestartsSpec
    | CyclicSpec
    | OneCycleSpec
    | PlateauSpec,
    Field(discriminator="name"),
]
