"""How long an attempt may go on: the job's time, the trainer's silence, how soon it must obey. No process, no row."""

from collections.abc import Callable, Sequence

from core.events import Event
from core.jobs import ACTIVE

NEVER_EXPIRES = float("inf")
COLD_START_S = 120.0  # before its first word a trainer may have to import torch and wake up a device


class AttemptTimeouts:
    """Measured by one monotonic clock; every limit is a moment on it.

    Args:
        grace_s: how long the trainer may take to stop when asked.
        stall_s: how long it may be silent: a step, an evaluation's batch, the writing of a snapshot.
        left_s: how long the job may still run, all attempts together.
    """

    def __init__(self, clock: Callable[[], float], *, grace_s: float, stall_s: float, left_s: float | None) -> None:
        self._clock, self._grace_s, self._stall_s = clock, grace_s, stall_s
        self._time_up_at = NEVER_EXPIRES if left_s is None else clock() + left_s
        self._obey_until = NEVER_EXPIRES
        self._heard_at = clock()

    def expect_start(self) -> None:
        """The trainer was told to start."""
        self._heard_at = self._clock() + max(0.0, COLD_START_S - self._stall_s)

    @property
    def is_over_time_limit(self) -> bool:
        """The job has run for as long as it may."""
        return self._clock() >= self._time_up_at

    @property
    def is_stalled(self) -> bool:
        """The trainer has been silent for too long."""
        return self._clock() - self._heard_at > self._stall_s

    @property
    def is_grace_expired(self) -> bool:
        """The trainer was asked to stop, and had its time."""
        return self._clock() > self._obey_until

    def touch(self) -> None:
        """The trainer said something."""
        self._heard_at = self._clock()

    def start_grace_period(self, *, at_once: bool) -> None:
        """The trainer was asked to stop, after its step or, unless `at_once`, after its epoch."""
        self._obey_until = self._clock() + self._grace_s if at_once else NEVER_EXPIRES


def active_seconds(transitions: Sequence[Event]) -> float:
    """How long a job was at work in the attempts that are over; a clock that jumped back counts as no time."""
    total = 0.0
    began = None
    for event in transitions:
        is_active = event.payload["to"] in ACTIVE
        if is_active and began is None:
            began = event.at
        elif not is_active and began is not None:
            total += max(0.0, (event.at - began).total_seconds())
            began = None
    return total
