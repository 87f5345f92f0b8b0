"""The possible outcomes of an attempt."""

import signal
from dataclasses import dataclass
from typing import Any

from core.failures import build_failure


@dataclass(frozen=True)
class AttemptSucceeded:
    """The job is complete. Its files and rows are already stored."""


@dataclass(frozen=True)
class AttemptReleased:
    """The attempt stopped as requested and does not count as lost."""

    reason: str


@dataclass(frozen=True)
class AttemptLost:
    """The attempt ended unexpectedly. The job is queued again, or fails if it has reached the retry limit."""

    failure: dict[str, Any]


@dataclass(frozen=True)
class AttemptFailed:
    """The job failed and is not retried."""

    failure: dict[str, Any]


@dataclass(frozen=True)
class DiskFull:
    """The disk is full. The job is retried if older checkpoints can be deleted; otherwise it fails."""

    failure: dict[str, Any]


AttemptOutcome = AttemptSucceeded | AttemptReleased | AttemptLost | AttemptFailed | DiskFull


def classify_trainer_exit(status: int, *, is_stalled: bool, has_oom_kill: bool) -> AttemptLost:
    """Return the outcome for a trainer that exited without a final message.

    Args:
        status: the exit status. A negative number means that this signal killed the trainer.
        is_stalled: whether the trainer was killed because it sent no message for too long.
        has_oom_kill: whether the kernel OOM-killed a process of this control group while the trainer ran.
    """
    if is_stalled:
        return AttemptLost(build_failure("stalled"))
    if status == -signal.SIGKILL and has_oom_kill:
        return AttemptLost(build_failure("host_out_of_memory"))
    return AttemptLost(build_failure("worker_lost"))
