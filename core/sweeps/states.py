"""Defines the states of sweeps and of their trials."""

from enum import StrEnum


class SweepState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"  # no decisions; its queued and running jobs are paused
    FINISHING = "finishing"  # no further trials; running jobs are stopped, the best trial is registered
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no trial has a score
    CANCELLED = "cancelled"


TERMINAL_SWEEP = frozenset({SweepState.SUCCEEDED, SweepState.FAILED, SweepState.CANCELLED})
OPEN_SWEEP = frozenset(SweepState) - TERMINAL_SWEEP


class TrialState(StrEnum):
    """The states of a trial."""

    RUNNING = "running"  # its job is queued or running, up to the milestone `epochs`
    PAUSED = "paused"  # it reached the milestone, and may be promoted
    INTERRUPTED = "interrupted"  # its worker was lost; the trial itself may be correct
    SUCCEEDED = "succeeded"  # it has trained for all epochs
    STOPPED = "stopped"  # it cannot be promoted any more, or was cancelled
    FAILED = "failed"  # the worst trial of its rung
    REFUSED = "refused"  # its parameters give no valid job; it has no job


class TrialSource(StrEnum):
    """Where the parameters of a trial come from."""

    SAMPLER = "sampler"
    FIRST = "first"  # the field `first` of the sweep
    CLIENT = "client"  # added by hand
    COPY = "copy"  # a copy of another trial, with changed parameters (population based training)
