"""Defines the decisions of a scheduler."""

from typing import NamedTuple

from pydantic import JsonValue


class StartTrial(NamedTuple):
    """Create a trial and train it up to a milestone.

    Attributes:
        number: the number of the new trial.
        epochs: the milestone.
        parent: the trial, and the epochs of its checkpoint, from which the new trial continues; None: new weights.
        parameters: the parameters of a copy; None: those that the sampler suggests.
    """

    number: int
    epochs: int
    parent: tuple[int, int] | None = None
    parameters: dict[str, JsonValue] | None = None


class PromoteTrial(NamedTuple):
    """Continue a trial up to its next milestone, or, after its worker was lost, up to the same one."""

    number: int
    epochs: int


class StopTrial(NamedTuple):
    """End a trial that cannot be promoted any more, so that its checkpoints can be deleted."""

    number: int
    reason: str


class Wait(NamedTuple):
    """Do nothing until the state of a trial changes."""


class FinishSweep(NamedTuple):
    """End the sweep. Running trials are stopped."""

    reason: str


Decision = StartTrial | PromoteTrial | StopTrial | Wait | FinishSweep
