"""Handles the messages of a trainer: records their content, and converts the final message to an outcome."""

from collections.abc import Callable
from typing import Any

import structlog

from core.db.tables import DatasetVersionRow
from core.errors import StorageFull
from core.failures import FAILURES, build_failure
from core.storage import Storage
from worker.control.outcome import AttemptFailed, AttemptLost, AttemptOutcome, AttemptSucceeded, DiskFull
from worker.control.recorder import Recorder
from worker.control.staging import build_dataset_lineage, check_storage
from worker.control.stop_controller import StopController
from worker.protocol import (
    ArtifactWritten,
    CheckpointWritten,
    JobCompleted,
    Log,
    Metrics,
    MilestoneReached,
    RunFailed,
    RunStarted,
    RunStopped,
    TrainerAlive,
    TrainerMessage,
    TrainingFinished,
)

log = structlog.get_logger()


class MessageHandler:
    """Handles the messages of one attempt in the order in which they arrive.

    Args:
        placement: fields to add to the job's `runtime`: the worker, the device and the trainer's process id.
        on_start: called when the trainer has built the run.
        get_attempt_s: returns the number of seconds since the job was claimed.
    """

    def __init__(
        self,
        recorder: Recorder,
        storage: Storage,
        version: DatasetVersionRow | None,
        stop: StopController,
        placement: dict[str, Any],
        *,
        on_start: Callable[[RunStarted], None],
        get_attempt_s: Callable[[], float],
    ) -> None:
        self._recorder = recorder
        self._storage = storage
        self._version = version
        self._stop = stop
        self._placement = placement
        self._on_start = on_start
        self._get_attempt_s = get_attempt_s
        self._has_first_step = False

    def handle(self, message: TrainerMessage) -> AttemptOutcome | None:
        """Record one message. Return the outcome of the attempt if the message ends it, else None.

        Raises:
            LostLease: the attempt has lost its lease.
            Unavailable: the storage is unavailable.
        """
        try:
            if isinstance(message, TrainingFinished | JobCompleted | RunStopped | MilestoneReached | RunFailed):
                self._recorder.progress.flush()
                return self._handle_final(message)
            self._handle_report(message)
        except StorageFull as error:
            return DiskFull(build_failure("disk_full", error.detail, "", error.extra))
        return None

    def _handle_report(
        self, message: RunStarted | TrainerAlive | Metrics | CheckpointWritten | ArtifactWritten | Log
    ) -> None:
        match message:
            case TrainerAlive():
                pass
            case RunStarted(runtime=runtime, num_steps=num_steps):
                self._on_start(message)
                self._recorder.progress.record_start({**runtime, **self._placement}, num_steps)
            case Metrics():
                if not self._has_first_step:
                    self._has_first_step = True
                    self._recorder.progress.record_first_step(self._get_attempt_s())
                self._recorder.progress.buffer_metrics(message)
            case Log(level="warning", message=text):
                self._recorder.progress.add_warning(text)
            case Log(level="error", message=text):
                log.warning("trainer.error_reported", text=text)  # a traceback, which is of no use to the job's owner
            case Log(level=level, message=text):
                self._recorder.progress.log_message(level, text)
            case CheckpointWritten():
                self._recorder.progress.flush()
                self._recorder.files.store_checkpoint(message)
            case ArtifactWritten():
                self._recorder.files.store_artifact(message)

    def _handle_final(
        self, message: TrainingFinished | JobCompleted | RunStopped | MilestoneReached | RunFailed
    ) -> AttemptOutcome:
        match message:
            case TrainingFinished():
                self._recorder.completion.finish(message, build_dataset_lineage(self._version))
                return AttemptSucceeded()
            case JobCompleted():
                self._recorder.completion.complete(message)
                return AttemptSucceeded()
            case RunStopped():
                return self._stop.build_outcome()
            case MilestoneReached(epoch=epoch):
                return self._stop.build_outcome(epoch)
            case RunFailed():
                return self._classify_failure(message)

    def _classify_failure(self, message: RunFailed) -> AttemptOutcome:
        if message.code == "internal":  # `check_storage` raises Unavailable if the storage caused the failure
            check_storage(self._storage)
        cause = build_failure(message.code, message.message, message.hint, message.extra)
        if message.code == "disk_full":
            return DiskFull(cause)
        return AttemptLost(cause) if FAILURES[message.code].is_retried else AttemptFailed(cause)
