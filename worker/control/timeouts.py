"""Measures the time limits of an attempt: the job's maximum runtime, the stall timeout and the grace period."""

from collections.abc import Callable, Sequence

from core.events import Event
from core.jobs import ACTIVE, EXTENDED

NEVER_EXPIRES = float("inf")
COLD_START_S = 120.0  # maximum time to import torch and to initialize a device before the first message


class AttemptTimeouts:
    """The deadlines of one attempt, measured with a monotonic clock."""

    def __init__(
        self, clock: Callable[[], float], *, grace_s: float, stall_s: float, remaining_s: float | None
    ) -> None:
        """Create the timeouts of one attempt.

        Args:
            clock: returns the time of a monotonic clock, in seconds.
            grace_s: seconds that the trainer has to stop before it is killed.
            stall_s: seconds without a message after which the trainer counts as stalled.
            remaining_s: the job's maximum runtime minus the runtime of earlier attempts, in seconds. None: no limit.
        """
        self._clock = clock
        self._grace_s = grace_s
        self._stall_s = stall_s
        self._runtime_deadline = NEVER_EXPIRES if remaining_s is None else clock() + remaining_s
        self._grace_deadline = NEVER_EXPIRES
        self._last_message_at = clock()

    def expect_start(self) -> None:
        """Extend the stall timeout before the first message, because the trainer may have to import torch."""
        self._last_message_at = self._clock() + max(0.0, COLD_START_S - self._stall_s)

    @property
    def is_over_time_limit(self) -> bool:
        """Return whether the job has reached its maximum runtime."""
        return self._clock() >= self._runtime_deadline

    @property
    def is_stalled(self) -> bool:
        """Return whether the trainer has sent no message for too long."""
        return self._clock() - self._last_message_at > self._stall_s

    @property
    def is_grace_expired(self) -> bool:
        """Return whether the trainer's grace period has ended."""
        return self._clock() > self._grace_deadline

    def record_message(self) -> None:
        """Record that the trainer sent a message, which restarts the stall timeout."""
        self._last_message_at = self._clock()

    def start_grace_period(self, *, is_immediate: bool) -> None:
        """Start the grace period if `is_immediate`. A stop at the end of the epoch has no grace period."""
        self._grace_deadline = self._clock() + self._grace_s if is_immediate else NEVER_EXPIRES


def sum_active_seconds(transitions: Sequence[Event]) -> float:
    """Return the total running time of a job's finished attempts since it was submitted or extended, in seconds.

    If the clock was set back, an attempt can end before it started. Such an attempt counts as 0 s.
    """
    total = 0.0
    started_at = None
    for event in transitions:
        if event.payload.get("reason") == EXTENDED:
            total = 0.0
        is_active = event.payload["to"] in ACTIVE
        if is_active and started_at is None:
            started_at = event.at
        elif not is_active and started_at is not None:
            total += max(0.0, (event.at - started_at).total_seconds())
            started_at = None
    return total
