"""The possible outcomes of an attempt."""

import signal
from dataclasses import dataclass
from typing import Any

from core.failures import build_failure


@dataclass(frozen=True)
class AttemptSucceeded:
    """Outcome if the job is complete. Its files and database rows are already stored."""


@dataclass(frozen=True)
class AttemptReleased:
    """Outcome if the attempt stopped on a stop request or at shutdown. It does not count as lost."""

    reason: str


@dataclass(frozen=True)
class AttemptPaused:
    """Outcome if the attempt stopped at the end of a milestone. It does not count as lost."""

    epoch: int


@dataclass(frozen=True)
class AttemptLost:
    """Outcome if the attempt ended unexpectedly. The job is queued again, or fails if the retry limit is reached.

    `detail` says in the job's log how the attempt ended. Empty: the message of the failure says it.
    """

    failure: dict[str, Any]
    detail: str = ""


@dataclass(frozen=True)
class AttemptFailed:
    """Outcome if the job failed. It is not retried."""

    failure: dict[str, Any]


@dataclass(frozen=True)
class DiskFull:
    """Outcome if the disk is full. The job is retried if older checkpoints can be deleted; otherwise it fails."""

    failure: dict[str, Any]


AttemptOutcome = AttemptSucceeded | AttemptReleased | AttemptPaused | AttemptLost | AttemptFailed | DiskFull


def classify_trainer_exit(status: int, *, is_stalled: bool, has_oom_kill: bool) -> AttemptLost:
    """Return the outcome for a trainer that exited without a final message.

    Args:
        status: the exit status. The status -N means that signal N killed the trainer.
        is_stalled: whether the trainer was killed because it sent no message for too long.
        has_oom_kill: whether the kernel OOM-killed a process of this control group while the trainer ran.
    """
    if is_stalled:
        return AttemptLost(build_failure("stalled"))
    if status == -signal.SIGKILL and has_oom_kill:
        return AttemptLost(build_failure("host_out_of_memory"))
    return AttemptLost(build_failure("worker_lost"))
