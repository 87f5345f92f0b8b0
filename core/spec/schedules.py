"""Defines the specs of learning-rate schedules. A schedule steps once per epoch or per optimizer step (`call_on`)."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from core.spec import schedule_base as fields
from core.spec.base import LR_DESCRIPTION, Count, FieldError, Monitor, NonNegative, Positive
from core.spec.schedule_base import CallOn, Factors, Milestones, ScheduleBase, ScheduleEnd


class StepSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` every `step_size` steps of the schedule. Source: `StepLR`."""

    name: Literal["step"] = "step"
    step_size: Count = Field(description="The number of schedule steps between two changes.", examples=[10])
    gamma: Positive = Field(default=0.1, description="The factor by which the learning rate is multiplied.")
    call_on: CallOn = "epoch_end"


class MultiStepSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` at each milestone. Source: `MultiStepLR`."""

    name: Literal["multi_step"] = "multi_step"
    milestones: Milestones = Field(
        description="The schedule steps at which the learning rate changes, in increasing order.", examples=[[1]]
    )
    gamma: Positive = Field(default=0.1, description="The factor by which the learning rate is multiplied.")
    call_on: CallOn = "epoch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error if the milestones do not increase."""
        if list(self.milestones) != sorted(set(self.milestones)):
            yield "/milestones", "must increase"


class ExponentialSpec(ScheduleBase):
    """Multiply the learning rate by `gamma` at every step of the schedule. Source: `ExponentialLR`."""

    name: Literal["exponential"] = "exponential"
    gamma: Positive = Field(default=0.95, description="The factor by which the learning rate is multiplied.")
    call_on: CallOn = "epoch_end"


class ConstantSpec(ScheduleBase):
    """Multiply the learning rate by `factor` for the first `total_iters` schedule steps. Source: `ConstantLR`."""

    name: Literal["constant"] = "constant"
    factor: fields.Factor = Field(default=1.0 / 3, description="The factor of the learning rate.")
    total_iters: Count = Field(default=5, description="The number of schedule steps with the factor.")
    call_on: CallOn = "epoch_end"


class LambdaSpec(ScheduleBase):
    """Multiply the initial learning rate by one factor per step. The last factor applies to all later steps.

    Source: `LambdaLR`, with a list instead of a function.
    """

    name: Literal["lambda"] = "lambda"
    factors: Factors = Field(description="One factor per step of the schedule.", examples=[[1.0, 0.5, 0.1]])
    call_on: CallOn = "epoch_end"

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd:
        """Return the end of the list of factors."""
        return ScheduleEnd(len(self.factors) - 1, self.factors[-1] * initial_lr)


class MultiplicativeSpec(ScheduleBase):
    """Multiply the current learning rate by one factor per step. The last factor applies to all later steps.

    Source: `MultiplicativeLR`, with a list instead of a function.
    """

    name: Literal["multiplicative"] = "multiplicative"
    factors: Factors = Field(description="One factor per step of the schedule.", examples=[[1.0, 0.5, 0.1]])
    call_on: CallOn = "epoch_end"


class LinearScheduleSpec(ScheduleBase):
    """Multiply the learning rate by a factor that changes linearly from `start_factor` to `end_factor`.

    Source: `LinearLR`.
    """

    name: Literal["linear"] = "linear"
    start_factor: fields.FirstFactor = 1.0 / 3
    end_factor: fields.LastFactor = 1.0
    total_iters: fields.DecaySteps = None
    call_on: CallOn = "epoch_end"

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd:
        """Return the step from which the factor is `end_factor`."""
        return ScheduleEnd(self.total_iters or num_steps, self.end_factor * initial_lr)


class PolynomialSpec(ScheduleBase):
    """Decay the learning rate to zero as a polynomial of degree `power`. Source: `PolynomialLR`."""

    name: Literal["polynomial"] = "polynomial"
    power: Positive = Field(default=1.0, description="The degree of the polynomial.")
    total_iters: fields.DecaySteps = None
    call_on: CallOn = "epoch_end"

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd:
        """Return the step from which the learning rate is 0."""
        return ScheduleEnd(self.total_iters or num_steps, 0.0)


class CosineSpec(ScheduleBase):
    """Cosine annealing to `eta_min`. Source: Loshchilov and Hutter, 2016; `CosineAnnealingLR`."""

    name: Literal["cosine"] = "cosine"
    t_max: fields.DecaySteps = None
    eta_min: fields.MinLr = 0.0
    call_on: CallOn = "epoch_end"

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd | None:
        """Return the end of the cosine. A cosine that is shorter than the training rises again, so it has no end."""
        length = self.t_max or num_steps
        return ScheduleEnd(length, self.eta_min) if length >= num_steps else None


class CosineWarmRestartsSpec(ScheduleBase):
    """Cosine annealing with restarts. Each cycle is `t_mult` times as long as the previous one.

    Source: `CosineAnnealingWarmRestarts`.
    """

    name: Literal["cosine_warm_restarts"] = "cosine_warm_restarts"
    t_0: Count = Field(description="The number of schedule steps in the first cycle.", examples=[10])
    t_mult: Count = Field(default=1, description="The length of a cycle divided by that of the previous one.")
    eta_min: fields.MinLr = 0.0
    call_on: CallOn = "epoch_end"


class CyclicSpec(ScheduleBase):
    """Cycle between `base_lr` and `max_lr`, with one step per batch. Source: Smith, 2015; `CyclicLR`."""

    name: Literal["cyclic"] = "cyclic"
    base_lr: Positive = Field(description=f"The lowest learning rate. {LR_DESCRIPTION}", examples=[1e-4])
    max_lr: Positive = Field(description=f"The highest learning rate. {LR_DESCRIPTION}", examples=[1e-2])
    step_size_up: Count = Field(default=2000, description="The number of batches from `base_lr` to `max_lr`.")
    step_size_down: Count | None = Field(default=None, description="Default: `step_size_up`.")
    mode: fields.CyclicMode = "triangular"
    gamma: Positive = Field(default=1.0, description="The factor of the height per batch, for `exp_range`.")
    call_on: fields.BatchEnd = "train_batch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error if `base_lr` is greater than `max_lr`."""
        if self.base_lr > self.max_lr:
            yield "/base_lr", f"must be at most max_lr, {self.max_lr:g}; got {self.base_lr:g}"


class OneCycleSpec(ScheduleBase):
    """One cycle of learning rate and momentum over the whole run, with one step per batch.

    Source: Smith and Topin, 2017; `OneCycleLR`.
    """

    name: Literal["one_cycle"] = "one_cycle"
    max_lr: Positive | Literal["auto"] = Field(
        description=f"The highest learning rate. `auto`: found by a search before the training, as in `lr_find` jobs. "
        f"{LR_DESCRIPTION}",
        examples=[0.01],
    )
    pct_start: fields.WarmUpShare = 0.3
    anneal_strategy: Literal["cos", "linear"] = Field(default="cos", description="The shape of the decrease.")
    cycle_momentum: bool = Field(default=True, description="Also change the momentum if the optimizer has one.")
    base_momentum: fields.MinMomentum = 0.85
    max_momentum: fields.MaxMomentum = 0.95
    div_factor: fields.InitialDivisor = 25.0
    final_div_factor: fields.FinalDivisor = 1e4
    call_on: fields.BatchEnd = "train_batch_end"

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error if the warm-up is exactly one step: `OneCycleLR` would divide by zero."""
        if self.pct_start * num_steps == 1:
            yield (
                "/pct_start",
                "gives a warm-up of exactly one step, which OneCycleLR does not support; set 0 or a larger fraction",
            )

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd:
        """Return the end of the cycle. The final learning rate is unknown here if `max_lr` is `auto`."""
        if self.max_lr == "auto":
            return ScheduleEnd(num_steps, None)
        return ScheduleEnd(num_steps, self.max_lr / self.div_factor / self.final_div_factor)


class PlateauSpec(ScheduleBase):
    """Multiply the learning rate by `factor` when the epoch mean of `monitor` has stopped improving.

    Source: `ReduceLROnPlateau`.
    """

    name: Literal["plateau"] = "plateau"
    monitor: Monitor = "valid_loss"
    mode: fields.PlateauMode = "auto"
    factor: fields.PlateauFactor = 0.1
    patience: fields.PlateauEpochs = 10
    threshold: fields.Threshold = 1e-4
    threshold_mode: fields.ThresholdMode = "rel"
    cooldown: fields.Cooldown = 0
    min_lr: fields.MinLr = 0.0
    eps: NonNegative = Field(
        default=1e-8, description="Changes of the learning rate that are smaller than this value are skipped."
    )
    call_on: fields.EpochEnd = "epoch_end"


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
    """Run several schedules one after another, for example a linear warm-up before a cosine.

    Each schedule after the first starts at its milestone. Lengths such as the `t_max` of a cosine default to the
    number of steps until the next milestone or the end of the training. The `call_on` of this spec applies to all
    schedules.
    Source: `SequentialLR`.
    """

    name: Literal["sequential"] = "sequential"
    schedules: Annotated[tuple[PartSpec, ...], Field(strict=False, min_length=2, max_length=20)] = Field(
        description="The schedules, in the order in which they run.",
        examples=[[{"name": "linear"}, {"name": "cosine"}]],
    )
    milestones: Milestones = Field(
        description="The steps at which the second and all later schedules start, in increasing order.", examples=[[1]]
    )
    call_on: CallOn = "epoch_end"

    @model_validator(mode="before")
    @classmethod
    def _propagate_call_on(cls, value: Any) -> Any:  # noqa: ANN401 - any JSON value
        if not isinstance(value, dict) or not isinstance(value.get("schedules"), list | tuple):
            return value
        call_on = value.get("call_on", "epoch_end")
        parts = [{"call_on": call_on, **part} if isinstance(part, dict) else part for part in value["schedules"]]
        return {**value, "schedules": parts}

    @model_validator(mode="after")
    def _check_milestones(self) -> Self:
        if len(self.milestones) != len(self.schedules) - 1:
            required = len(self.schedules) - 1
            raise ValueError(f"{required + 1} schedules require {required} milestones; got {len(self.milestones)}")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError("milestones must increase")
        if any(part.call_on != self.call_on for part in self.schedules):
            raise ValueError(
                f"call_on of each schedule must be {self.call_on}, as in the sequence; omit it in the schedules"
            )
        return self

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd | None:
        """Return the end of the last schedule."""
        start = self.milestones[-1]
        end = self.schedules[-1].get_end(max(num_steps - start, 1), initial_lr)
        return None if end is None else end._replace(length=start + end.length)


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
