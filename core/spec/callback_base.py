"""Defines the base class of the specs of callbacks, and field types that several callbacks use."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from core.spec.base import Spec

Mode = Annotated[
    Literal["auto", "min", "max", "zero"],
    Field(
        description="Whether an improvement is a lower value, a higher value or a value closer to zero. `auto` selects "
        "the direction that suits the metric."
    ),
]


class CallbackBase(Spec):
    """Base class of callbacks. Subclasses override class attributes, which the job validation reads."""

    exclusive_group: ClassVar[str | None] = None
    """The purpose, such as `average weights`. A job has at most one callback per purpose. None: no limit."""
    changes_steps: ClassVar[bool] = False
    """Whether the callback changes the training steps. Tuning keeps only callbacks that do."""
    averages_weights: ClassVar[bool] = False
    mixes_images: ClassVar[bool] = False
    requires_single_process: ClassVar[bool] = False
    clips_gradients: ClassVar[bool] = False
    averages_after_training: ClassVar[bool] = False
    """Whether the registered weights are an average that is not validated per epoch."""
    selects_best_epoch: ClassVar[bool] = False
    requires_validation: ClassVar[bool] = False
    """Whether the callback writes results of the last validation."""
    ends_after_time: ClassVar[bool] = False
    """Whether the callback ends runs after a time, and so at another step on every machine."""
    tuned_field: ClassVar[str | None] = None
    """The field of the job whose value the callback finds before the training."""
    max_classes: ClassVar[int | None] = None
    """The maximum number of classes in the table that the callback writes; None: no limit."""

    def get_earliest_stop(self, first_epoch: int) -> int | None:
        """Return the first epoch after which the callback can stop a run that starts, or is extended, at `first_epoch`.

        None: the callback does not stop runs after a number of epochs.
        """
        return None
