"""The time limits of an attempt: the job's runtime, the trainer's stall timeout and its grace period."""

from collections.abc import Callable, Sequence

from core.events import Event
from core.jobs import ACTIVE

NEVER_EXPIRES = float("inf")
COLD_START_S = 120.0  # before its first message a trainer may import torch and initialize a device


class AttemptTimeouts:
    """Deadlines on one monotonic clock."""

    def __init__(
        self, clock: Callable[[], float], *, grace_s: float, stall_s: float, remaining_s: float | None
    ) -> None:
        """Create the timeouts of one attempt.

        Args:
            clock: a monotonic clock.
            grace_s: how long the trainer may take to stop.
            stall_s: how long the trainer may send no message.
            remaining_s: how long the job may still run, all attempts together; None: no limit.
        """
        self._clock = clock
        self._grace_s = grace_s
        self._stall_s = stall_s
        self._runtime_deadline = NEVER_EXPIRES if remaining_s is None else clock() + remaining_s
        self._grace_deadline = NEVER_EXPIRES
        self._last_message_at = clock()

    def expect_start(self) -> None:
        """Allow the trainer a cold start before its first message."""
        self._last_message_at = self._clock() + max(0.0, COLD_START_S - self._stall_s)

    @property
    def is_over_time_limit(self) -> bool:
        """Return whether the job has used up its runtime."""
        return self._clock() >= self._runtime_deadline

    @property
    def is_stalled(self) -> bool:
        """Return whether the trainer has sent no message for too long."""
        return self._clock() - self._last_message_at > self._stall_s

    @property
    def is_grace_expired(self) -> bool:
        """Return whether the trainer has not stopped within its grace period."""
        return self._clock() > self._grace_deadline

    def record_message(self) -> None:
        """Restart the stall timeout."""
        self._last_message_at = self._clock()

    def start_grace_period(self, *, is_immediate: bool) -> None:
        """Start the grace period of an immediate stop; a stop after the epoch has none."""
        self._grace_deadline = self._clock() + self._grace_s if is_immediate else NEVER_EXPIRES


def sum_active_seconds(transitions: Sequence[Event]) -> float:
    """Return how long the finished attempts of a job ran. A clock that jumped back counts as 0 s."""
    total = 0.0
    started_at = None
    for event in transitions:
        is_active = event.payload["to"] in ACTIVE
        if is_active and started_at is None:
            started_at = event.at
        elif not is_active and started_at is not None:
            total += max(0.0, (event.at - started_at).total_seconds())
            started_at = None
    return total
