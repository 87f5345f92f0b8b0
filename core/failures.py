"""Defines the failure codes of jobs. Each code has a kind, retry rules, a default message and a default hint."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, NamedTuple

from core.redaction import redact_credentials


class FailureKind(StrEnum):
    LOST = "lost"  # the worker or trainer ended or stalled; the job itself may be correct
    RESOURCES = "resources"  # not enough memory, disk space or time
    FILES = "files"  # stored files are damaged or could not be created
    REQUEST = "request"  # the job cannot succeed as requested
    DEFECT = "defect"  # a bug in Candela


class FailureType(NamedTuple):
    """The properties of a failure code.

    Attributes:
        kind: the category of the cause.
        retryable: whether a new job with the same body may succeed.
        is_retried: whether the service retries the job automatically, up to the retry limit.
        message: the default message.
        hint: the default advice to the client.
        mentions_checkpoint: whether the hint of a failed training ends with its newest checkpoint.
    """

    kind: FailureKind
    retryable: bool
    is_retried: bool
    message: str
    hint: str
    mentions_checkpoint: bool = False


_K = FailureKind
_RETRY_HINT = "Check the log of the worker, then create the job again."

FAILURES: dict[str, FailureType] = {
    "worker_lost": FailureType(
        _K.LOST,
        True,
        True,
        "The worker was lost; the retry limit is reached.",
        "Check the log of the job and the memory of the worker, then create the job again.",
    ),
    "stalled": FailureType(
        _K.LOST,
        True,
        True,
        "The trainer made no progress within CANDELA_STALL_S; the retry limit is reached.",
        "Check the log of the job and the worker's devices. If steps are slow, increase CANDELA_STALL_S.",
    ),
    "host_out_of_memory": FailureType(
        _K.RESOURCES,
        True,
        True,
        "The worker's machine ran out of memory; the retry limit is reached.",
        "Reduce batch_size, use a smaller network, or use a worker with more memory.",
    ),
    "gpu_out_of_memory": FailureType(
        _K.RESOURCES,
        True,
        False,
        "The device ran out of memory.",
        'Reduce batch_size, use smaller images or a smaller network, or set on_oom to "accumulate".',
    ),
    "disk_full": FailureType(
        _K.RESOURCES,
        True,
        False,
        "The disk is full.",
        "Free disk space, then create the job again.",
        mentions_checkpoint=True,
    ),
    "time_limit": FailureType(
        _K.RESOURCES,
        False,
        False,
        "The job reached its max_runtime_s.",
        "Clone the job with a larger max_runtime_s or fewer epochs.",
        mentions_checkpoint=True,
    ),
    "diverged": FailureType(
        _K.REQUEST,
        False,
        False,
        "The loss is not finite.",
        "Reduce the learning rate, clip gradients, or use fp32.",
        mentions_checkpoint=True,
    ),
    "invalid_spec": FailureType(
        _K.REQUEST,
        False,
        False,
        "The job cannot be built from its specification.",
        "Correct the field that the message names, then create the job again.",
    ),
    "accuracy_dropped": FailureType(
        _K.REQUEST,
        False,
        False,
        "The variant is less accurate than the model by more than max_drop.",
        "Use another format or precision, more calibration_samples, or a larger max_drop.",
    ),
    "dependency_failed": FailureType(
        _K.FILES, False, False, "The dataset import failed.", "Correct the dataset, then create the job again."
    ),
    "checkpoint_corrupt": FailureType(
        _K.FILES,
        False,
        False,
        "All checkpoints of the job are damaged.",
        "Restore the files from a backup, or create the job again.",
    ),
    "dataset_corrupt": FailureType(
        _K.FILES, False, False, "The packed dataset is damaged.", "Import the dataset again as a new version."
    ),
    "internal": FailureType(_K.DEFECT, True, False, "An internal error occurred.", _RETRY_HINT),
}


def build_failure(
    code: str, message: str = "", hint: str = "", extra: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Build the failure object that is stored with a job.

    If `message` or `hint` is empty, the default of the failure code is used. `extra` adds fields to the object, but
    cannot replace the fields that all failures have. Credentials in the message are replaced: it may contain the error
    of a database or a storage with its URL, and clients read it.
    """
    failure_type = FAILURES[code]
    return {
        **(extra or {}),
        "code": code,
        "message": redact_credentials(message) or failure_type.message,
        "hint": hint or failure_type.hint,
        "retryable": failure_type.retryable,
    }


def get_failure_kind(code: str) -> FailureKind:
    """Return the kind of a failure code. A code that is unknown in this version has the kind `DEFECT`."""
    return FAILURES[code].kind if code in FAILURES else FailureKind.DEFECT
