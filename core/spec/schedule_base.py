"""The base class of schedule specs, the end of a schedule, and the types of common fields."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from core.spec.base import Count, FieldError, NonNegative, Positive, Probability, Spec

CallOn = Annotated[
    Literal["epoch_end", "train_batch_end"],
    Field(description="When the schedule steps: after each epoch, or after each optimizer step."),
]
BatchEnd = Annotated[Literal["train_batch_end"], Field(description="The schedule steps after each optimizer step.")]
EpochEnd = Annotated[Literal["epoch_end"], Field(description="The schedule steps after each epoch.")]
DecaySteps = Annotated[
    Count | None,
    Field(description="The number of schedule steps until the final learning rate. Default: all of the training."),
]
Milestones = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=1000)]
Factor = Annotated[float, Field(gt=0.0, le=1.0)]
FirstFactor = Annotated[Factor, Field(description="The factor at the first step of the schedule.")]
LastFactor = Annotated[Probability, Field(description="The factor after `total_iters` steps of the schedule.")]
MinLr = Annotated[NonNegative, Field(description="The lowest learning rate.")]
WarmUpShare = Annotated[
    Probability, Field(description="The fraction of the steps in which the learning rate increases.")
]
InitialDivisor = Annotated[Positive, Field(description="`max_lr` divided by the first learning rate.")]
FinalDivisor = Annotated[Positive, Field(description="The first learning rate divided by the last one.")]
MinMomentum = Annotated[Probability, Field(description="The momentum at the highest learning rate.")]
MaxMomentum = Annotated[Probability, Field(description="The momentum at the lowest learning rate.")]
PlateauFactor = Annotated[float, Field(gt=0.0, lt=1.0, description="The factor of the learning rate.")]
CyclicMode = Annotated[
    Literal["triangular", "triangular2", "exp_range"],
    Field(description="Whether all cycles are equally high, each is half as high, or the height decays with `gamma`."),
]
PlateauMode = Annotated[
    Literal["auto", "min", "max"],
    Field(description="Whether lower or higher values are improvements; `auto` depends on the metric."),
]
ThresholdMode = Annotated[
    Literal["rel", "abs"], Field(description="Whether `threshold` is a fraction of the best value, or a difference.")
]
PlateauEpochs = Annotated[
    int, Field(ge=0, le=100_000, description="The number of epochs without improvement before a change.")
]
Cooldown = Annotated[
    int, Field(ge=0, le=100_000, description="The number of epochs after a change in which none follows.")
]
Threshold = Annotated[NonNegative, Field(description="The smallest change that counts as an improvement.")]
Factors = Annotated[tuple[NonNegative, ...], Field(strict=False, min_length=1, max_length=100_000)]


class ScheduleEnd(NamedTuple):
    """The end of a schedule's plan.

    Attributes:
        length: number of schedule steps after which the learning rate is constant.
        lr: the learning rate from then on, or None if it depends on the training.
    """

    length: int
    lr: float | None


class ScheduleBase(Spec):
    """Base class of schedules. Subclasses override the checks that apply to them."""

    def find_errors(self, num_steps: int) -> Iterator[FieldError]:
        """Yield an error for each option that is not valid for a training of `num_steps` optimizer steps."""
        yield from ()

    def get_end(self, num_steps: int, initial_lr: float) -> ScheduleEnd | None:
        """Return the end of a schedule that was planned for `num_steps` schedule steps; None if it has no end.

        A schedule without end defines learning rates for any number of steps.
        """
        return None
