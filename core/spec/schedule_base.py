"""The base class of schedule specs, the end of a schedule, and the types of common fields."""

from collections.abc import Iterator
from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from core.spec.base import Count, FieldError, NonNegative, Spec

CallOn = Annotated[
    Literal["epoch_end", "train_batch_end"],
    Field(description="When the schedule steps: after each epoch, or after each optimizer step."),
]
Milestones = Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=1000)]
Factor = Annotated[float, Field(gt=0.0, le=1.0)]
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
