"""Defines the states of jobs, dataset versions and uploads, and the allowed transitions between job states."""

from enum import StrEnum


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    PAUSING = "pausing"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


EPOCH_KINDS = frozenset({"train", "reproduce"})
"""The kinds of jobs that train a network over epochs. Their results are a network or a comparison, not files."""


class StopRequest(StrEnum):
    """A request of a client to stop a running job."""

    CANCEL = "cancel"
    PAUSE = "pause"
    FINISH = "finish"


class StopMode(StrEnum):
    """The ways to stop an attempt early: the stop requests of clients, and `preempt` when the worker shuts down."""

    CANCEL = "cancel"
    PAUSE = "pause"
    PREEMPT = "preempt"
    FINISH = "finish"


IMMEDIATE_STOP_MODES = frozenset({StopMode.CANCEL, StopMode.PAUSE, StopMode.PREEMPT})
"""Modes that stop the attempt at the next step. `finish` first completes the current epoch."""


class DatasetState(StrEnum):
    IMPORTING = "importing"
    READY = "ready"
    FAILED = "failed"


class UploadState(StrEnum):
    """The states of a resumable upload. `inspecting` begins with the last byte, and ends with a dataset version."""

    RECEIVING = "receiving"
    INSPECTING = "inspecting"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


class ResourceKind(StrEnum):
    """The kinds of resources that have versions, a description and tags."""

    MODEL = "model"
    DATASET = "dataset"


OPEN_UPLOAD_STATES = frozenset({UploadState.RECEIVING, UploadState.INSPECTING})

_S = JobState

TRANSITIONS: dict[JobState, frozenset[JobState]] = {
    _S.QUEUED: frozenset({_S.RUNNING, _S.CANCELLED, _S.PAUSED, _S.FAILED}),
    _S.RUNNING: frozenset(
        {_S.SUCCEEDED, _S.FAILED, _S.CANCELLED, _S.CANCELLING, _S.PAUSING, _S.PAUSED, _S.QUEUED}
    ),  # a job pauses by itself at a milestone
    _S.PAUSING: frozenset({_S.PAUSED, _S.SUCCEEDED, _S.FAILED, _S.CANCELLING, _S.CANCELLED}),
    _S.PAUSED: frozenset({_S.QUEUED, _S.CANCELLED}),
    _S.CANCELLING: frozenset({_S.CANCELLED, _S.SUCCEEDED, _S.FAILED}),
    _S.SUCCEEDED: frozenset({_S.QUEUED}),  # a succeeded job can be extended by more epochs
    _S.FAILED: frozenset({_S.QUEUED}),  # a sweep continues its trial whose worker was lost
    _S.CANCELLED: frozenset(),
}

TERMINAL = frozenset({_S.SUCCEEDED, _S.FAILED, _S.CANCELLED})
UNFINISHED = frozenset(JobState) - TERMINAL
ACTIVE = frozenset({_S.RUNNING, _S.PAUSING, _S.CANCELLING})  # states in which an attempt holds the lease of the job

EXTENDED = "extended"  # the reason of the transition by which a job is queued for more epochs
USER, SWEEP = "user", "sweep"  # who stopped a job: the beginning of its `stop_reason`, such as `user_paused`
RETRIED = "retried"  # the reason of the transition by which a failed job is queued again
MILESTONE = "milestone"  # the `stop_reason` of a job that paused at a milestone, and the reason of that transition


def can_transition(current: JobState, target: JobState) -> bool:
    """Return whether a job can change from `current` to `target`."""
    return target in TRANSITIONS[current]
