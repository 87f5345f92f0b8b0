"""Defines the base classes of the specs of optimizers, and parameter groups."""

from typing import Annotated, ClassVar

from pydantic import Field

from core.spec.base import NonNegative, Pattern, Positive, Spec

DECAY_DESCRIPTION = "Whether weight decay also applies to biases and to the scales of normalization layers."


class GroupSpec(Spec):
    """Learning rate and weight decay of parameters whose names match `match`. The first matching group applies."""

    match: Pattern = Field(examples=["head.*"])
    lr: Positive | None = Field(
        default=None, description="Learning rate; default: the optimizer's. Schedules keep the ratio of the two rates."
    )
    weight_decay: NonNegative | None = Field(default=None, description="Weight decay; default: the optimizer's.")


class OptimizerBase(Spec):
    """Base class of optimizers. Subclasses override class attributes, which the job validation reads."""

    has_momentum: ClassVar[bool] = False
    """Whether the optimizer has a momentum (or first value of `betas`) that a schedule can change."""
    requires_closure: ClassVar[bool] = False
    """Whether the optimizer evaluates the loss several times per step with a closure."""


class GroupedSpec(OptimizerBase):
    """An optimizer with parameter groups."""

    groups: Annotated[tuple[GroupSpec, ...], Field(strict=False, max_length=100)] = Field(
        default=(), description="Groups of parameters with a separate learning rate or weight decay."
    )
    decay_norms_and_biases: bool = Field(default=True, description=DECAY_DESCRIPTION)
