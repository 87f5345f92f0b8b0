"""The learning-rate schedules a job may ask for, each with the breakpoint at which it steps."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from core.spec.base import LR_DESCRIPTION, Count, FieldError, NonNegative, Positive, Probability, Spec

CallOn = Literal["epoch_end", "train_batch_end"]
Milestones = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=1000)]
Factor = Annotated[float, Field(gt=0.0, le=1.0)]
Factors = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1, max_length=100_000)]


class ScheduleBase(Spec):
    """The checks of a schedule that validation calls; a schedule overrides those that apply to it."""

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield what does not fit a run of `num_steps` optimizer steps."""
        yield from ()


class StepSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` every `step_size` steps of the schedule. Source: `StepLR`."""

    name: Literal["step"] = "step"
    step_size: Count
    gamma: Positive = 0.1
    call_on: CallOn = "epoch_end"


class MultiStepSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` at each milestone. Source: `MultiStepLR`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Milestones
    gamma: Positive = 0.1
    call_on: CallOn = "epoch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error for milestones that do not increase."""
        if list(self.milestones) != sorted(set(self.milestones)):
            yield "/milestones", "must increase"


class ExponentialSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` at every step of the schedule. Source: `ExponentialLR`."""

    name: Literal["exponential"] = "exponential"
    gamma: Positive = 0.95
    call_on: CallOn = "epoch_end"


class ConstantSpec(ScheduleBase):
    """Take `factor` of the learning rate for `total_iters` steps, then all of it. Source: `ConstantLR`."""

    name: Literal["constant"] = "constant"
    factor: Factor = 1.0 / 3
    total_iters: Count = 5
    call_on: CallOn = "epoch_end"


class LambdaSpec(ScheduleBase):
    """Take one factor of the learning rate a step of the schedule, any numbers; the last one stays.

    Source: `LambdaLR`, with a table in the place of a function.
    """

    name: Literal["lambda"] = "lambda"
    factors: Factors
    call_on: CallOn = "epoch_end"


class MultiplicativeSpec(ScheduleBase):
    """Multiply the learning rate by one factor after another, a step each; the last one again and again.

    Source: `MultiplicativeLR`, with a table in the place of a function.
    """

    name: Literal["multiplicative"] = "multiplicative"
    factors: Factors
    call_on: CallOn = "epoch_end"


class LinearScheduleSpec(ScheduleBase):
    """Go from `start_factor` to `end_factor` of the learning rate in `total_iters` steps. Source: `LinearLR`."""

    name: Literal["linear"] = "linear"
    start_factor: Factor = 1.0 / 3
    end_factor: Probability = 1.0
    total_iters: Count | None = Field(default=None, description="The whole run, unless given.")
    call_on: CallOn = "epoch_end"


class PolynomialSpec(ScheduleBase):
    """Decay the learning rate to zero as a polynomial of `power`. Source: `PolynomialLR`."""

    name: Literal["polynomial"] = "polynomial"
    power: Positive = 1.0
    total_iters: Count | None = Field(default=None, description="The whole run, unless given.")
    call_on: CallOn = "epoch_end"


class CosineSpec(ScheduleBase):
    """Cosine annealing to `eta_min`. Source: Loshchilov and Hutter, 2016; `CosineAnnealingLR`."""

    name: Literal["cosine"] = "cosine"
    t_max: Count | None = Field(default=None, description="The whole run, unless given.")
    eta_min: NonNegative = 0.0
    call_on: CallOn = "epoch_end"


class CosineWarmRestartsSpec(ScheduleBase):
    """Cosine annealing restarted every `t_0` steps, each cycle `t_mult` times longer.

    Source: `CosineAnnealingWarmRestarts`.
    """

    name: Literal["cosine_warm_restarts"] = "cosine_warm_restarts"
    t_0: Count
    t_mult: Count = 1
    eta_min: NonNegative = 0.0
    call_on: CallOn = "epoch_end"


class CyclicSpec(ScheduleBase):
    """Cycle between `base_lr` and `max_lr`, a step every batch. Source: Smith, 2015; `CyclicLR`."""

    name: Literal["cyclic"] = "cyclic"
    base_lr: Positive = Field(description=LR_DESCRIPTION)
    max_lr: Positive = Field(description=LR_DESCRIPTION)
    step_size_up: Count = 2000
    step_size_down: Count | None = Field(default=None, description="As many as up, unless given.")
    mode: Literal["triangular", "triangular2", "exp_range"] = "triangular"
    gamma: Positive = 1.0
    call_on: Literal["train_batch_end"] = "train_batch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error where the lower learning rate is above the upper one."""
        if self.base_lr > self.max_lr:
            yield "/base_lr", f"must be at most max_lr, {self.max_lr:g}; got {self.base_lr:g}"


class OneCycleSpec(ScheduleBase):
    """One cycle over the whole run, a step every batch; it moves momentum too.

    Source: Smith and Topin, 2017; `OneCycleLR`.
    """

    name: Literal["one_cycle"] = "one_cycle"
    max_lr: Positive | Literal["auto"] = Field(
        description=f"`auto`: what `lr_find` would suggest, found before the training begins. {LR_DESCRIPTION}"
    )
    pct_start: Probability = 0.3
    anneal_strategy: Literal["cos", "linear"] = "cos"
    cycle_momentum: bool = Field(default=True, description="Of several optimizers, those that have one move it.")
    base_momentum: Probability = 0.85
    max_momentum: Probability = 0.95
    div_factor: Positive = 25.0
    final_div_factor: Positive = 1e4
    call_on: Literal["train_batch_end"] = "train_batch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error where the warm-up is a single step, which `OneCycleLR` cannot divide by."""
        if self.pct_start * num_steps == 1:
            yield "/pct_start", "the warm-up would be one step; set 0, or a larger share"


class PlateauSpec(ScheduleBase):
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
    eps: NonNegative = Field(default=1e-8, description="A smaller change is not made.")
    call_on: Literal["epoch_end"] = "epoch_end"


PartSpec = Annotated[
    StepSpec
    | MultiStepSpec
    | ExponentialSpec
    | ConstantSpec
    | LambdaSpec
    | MultiplicativeSpec
    | LinearScheduleSpec
    | PolynomialSpec
    | CosineSpec
    | CosineWarmRestartsSpec,
    Field(discriminator="name"),
]


class SequentialSpec(ScheduleBase):
    """One schedule after another, such as a linear rise before a cosine; each begins at its milestone.

    What a part leaves open, such as a cosine's `t_max`, is the time until the next milestone or the end. The parts step
    when the whole does. Source: `SequentialLR`.
    """

    name: Literal["sequential"] = "sequential"
    schedules: Annotated[tuple[PartSpec, ...], Field(strict=False, min_length=2, max_length=20)]
    milestones: Milestones
    call_on: CallOn = "epoch_end"

    @model_validator(mode="before")
    @classmethod
    def _propagate_call_on(cls, value: Any) -> Any:  # noqa: ANN401 - whatever the client sent
        if not isinstance(value, dict) or not isinstance(value.get("schedules"), list | tuple):
            return value
        call_on = value.get("call_on", "epoch_end")
        parts = [{"call_on": call_on, **part} if isinstance(part, dict) else part for part in value["schedules"]]
        return {**value, "schedules": parts}

    @model_validator(mode="after")
    def _check_milestones(self) -> Self:
        if len(self.milestones) != len(self.schedules) - 1:
            raise ValueError(f"{len(self.schedules)} schedules need {len(self.schedules) - 1} milestones between them")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must rise")
        if any(part.call_on != self.call_on for part in self.schedules):
            raise ValueError(f"its schedules step at {self.call_on}, as it does; leave their call_on out")
        return self


ScheduleSpec = Annotated[
    StepSpec
    | MultiStepSpec
    | ExponentialSpec
    | ConstantSpec
    | LambdaSpec
    | MultiplicativeSpec
    | LinearScheduleSpec
    | PolynomialSpec
    | CosineSpec
    | CosineWarmRestartsSpec
    | CyclicSpec
    | OneCycleSpec
    | PlateauSpec
    | SequentialSpec,
    Field(discriminator="name"),
]
