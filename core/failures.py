"""Every way a job can fail, as data: its kind, whether trying again can help, and what people are told by default."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple


class FailureKind(StrEnum):
    LOST = "lost"  # whoever did the work is gone; the work itself may be sound
    RESOURCES = "resources"  # memory, space or time did not suffice
    FILES = "files"  # what was stored is damaged, or could not be made
    REQUEST = "request"  # the job as asked for cannot succeed
    DEFECT = "defect"  # a fault of ours


class FailureType(NamedTuple):
    """One way to fail.

    Attributes:
        retryable: the same job, posted again, may succeed.
        is_retried: the service tries again by itself, up to the limit of attempts.
    """

    kind: FailureKind
    retryable: bool
    is_retried: bool
    message: str
    hint: str


_K = FailureKind
_RETRY_HINT = "Post the job again when the cause is gone."

FAILURES: dict[str, FailureType] = {
    "worker_lost": FailureType(
        _K.LOST,
        True,
        True,
        "The worker or its trainer died without a word, as often as allowed.",
        "Look at the job's log and the worker's memory; post the job again when the cause is gone.",
    ),
    "stalled": FailureType(
        _K.LOST,
        True,
        True,
        "The trainer lived but made no progress, as often as allowed.",
        "Look at the job's log and the worker's disks and devices; CANDELA_STALL_S is how long a step may take.",
    ),
    "host_out_of_memory": FailureType(
        _K.RESOURCES,
        True,
        True,
        "The machine had no memory left for the trainer, as often as allowed.",
        "Use a smaller batch_size or network, or a worker with more memory.",
    ),
    "gpu_out_of_memory": FailureType(
        _K.RESOURCES,
        True,
        False,
        "The device had no memory left.",
        "Use a smaller batch_size, smaller pictures, or a smaller network.",
    ),
    "disk_full": FailureType(_K.RESOURCES, True, False, "No space is left.", "Make room, and post the job again."),
    "time_limit": FailureType(
        _K.RESOURCES,
        False,
        False,
        "The job ran for as long as its max_runtime_s allows.",
        "Its last checkpoint is kept. Clone the job with a larger max_runtime_s or fewer epochs.",
    ),
    "diverged": FailureType(
        _K.REQUEST, False, False, "The loss is not finite.", "Lower the learning rate, clip gradients, or use fp32."
    ),
    "invalid_spec": FailureType(
        _K.REQUEST, False, False, "The job cannot be built as asked.", "Change the named part and post it again."
    ),
    "accuracy_dropped": FailureType(
        _K.REQUEST,
        False,
        False,
        "The variant answers worse than the model by more than its max_drop allows.",
        "Use another format or precision, more calibration_samples, or allow a larger max_drop.",
    ),
    "dependency_failed": FailureType(
        _K.FILES, False, False, "The dataset could not be imported.", "Mend the dataset, and post the job again."
    ),
    "checkpoint_corrupt": FailureType(
        _K.FILES, False, False, "No undamaged checkpoint is left.", "Restore the files from a copy, or post it again."
    ),
    "dataset_corrupt": FailureType(
        _K.FILES, False, False, "The packed dataset is damaged.", "Import the dataset again as a new version."
    ),
    "internal": FailureType(_K.DEFECT, True, False, "Something went wrong on our side.", _RETRY_HINT),
}


def build_failure(
    code: str, message: str = "", hint: str = "", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What is stored of a job that failed; facts never overwrite what every failure has."""
    failure_type = FAILURES[code]
    return {
        **(extra or {}),
        "code": code,
        "message": message or failure_type.message,
        "hint": hint or failure_type.hint,
        "retryable": failure_type.retryable,
    }


def get_failure_kind(code: str) -> FailureKind:
    """The kind of a failure, also of one that another version stored."""
    return FAILURES[code].kind if code in FAILURES else FailureKind.DEFECT
