"""Defines the milestones of a training job: epochs after which it pauses."""

from itertools import pairwise
from typing import Annotated

from pydantic import Field, field_validator

from core.spec.base import Count, Spec

MAX_MILESTONES = 64


class MilestonesSpec(Spec):
    """The epochs after which a training pauses, for example to compare it with others before it continues."""

    epochs: Annotated[tuple[Count, ...], Field(strict=False, min_length=1, max_length=MAX_MILESTONES)] = Field(
        description="The epochs at whose end the job pauses, in ascending order. `resume` continues it to the next "
        "one. The last epoch of the job has no effect: the job completes.",
        examples=[[1, 3, 9, 27]],
    )

    @field_validator("epochs")
    @classmethod
    def _check_order(cls, epochs: tuple[int, ...]) -> tuple[int, ...]:
        for previous, epoch in pairwise(epochs):
            if epoch <= previous:
                raise ValueError(f"must be in ascending order without duplicates; got {epoch} after {previous}")
        return epochs
