"""Runs one attempt of a claimed job: fetches its inputs, supervises its trainer and records the outcome."""

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, assert_never

import structlog
from pydantic import ValidationError

from core.datasets.archives.limits import UploadLimits
from core.db.session import SessionFactory
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import CorruptFile, InvalidSpec, LostLease, NotFound, StorageFull, Unavailable
from core.failures import build_failure
from core.spec.error_pointers import summarize_error
from core.storage import Storage
from worker.control.devices import DeviceAllocation
from worker.control.installation import describe_installation
from worker.control.job_log import STOP_REQUESTS, describe_attempt, describe_exit
from worker.control.lease import LEASE_SHARE, LeaseRenewer, SupervisionTimeouts
from worker.control.measured_choices import MeasuredChoices
from worker.control.message_handler import MessageHandler
from worker.control.oom import count_oom_kills
from worker.control.outcome import (
    AttemptFailed,
    AttemptLost,
    AttemptOutcome,
    AttemptPaused,
    AttemptReleased,
    AttemptSucceeded,
    DiskFull,
    classify_trainer_exit,
)
from worker.control.recorder import Recorder
from worker.control.staging import InputStaging
from worker.control.stop_controller import StopController
from worker.control.timeouts import AttemptTimeouts
from worker.control.trainer_process import TrainerExited, TrainerProcess, TrainerSource
from worker.protocol import RunStarted, Start

log = structlog.get_logger()
_POLL_S = 0.1
_EXIT_WAIT_S = 1.0


@dataclass(frozen=True)
class WorkerContext:
    """The connections and settings that all attempts of a worker share.

    Attributes:
        owner: the worker's id, which is stored in the rows of the jobs that the worker claims.
        max_attempts: number of lost attempts after which a job fails. Default: 5.
        weights_dir: the folder of the files that a spec can name with `weights: "file:…"`.
        archive_limits: the limits of archives of images to predict.
        max_feature_bytes: the maximum size of the cached outputs of frozen layers, per training.
        slots: the number of jobs that run at the same time and share the cores.
        queues_variants: whether jobs that choose the variants of registered versions are queued.
    """

    sessions: SessionFactory
    storage: Storage
    trainers: TrainerSource
    owner: str
    timeouts: SupervisionTimeouts
    max_attempts: int = 5
    weights_dir: Path = Path("/nonexistent")
    archive_limits: UploadLimits = field(default_factory=UploadLimits)
    max_feature_bytes: int = 4 * 2**30
    slots: int = 1
    queues_variants: bool = False
    measured_choices: MeasuredChoices = field(default_factory=MeasuredChoices)
    clock: Callable[[], float] = time.monotonic


class ClaimedJob(NamedTuple):
    """A job whose lease this worker holds.

    Attributes:
        version: the dataset version; None if the job reads no dataset.
        active_s: total running time of the job's earlier attempts, in seconds.
        claimed_at: the time of the claim on the clock of `WorkerContext`, in seconds.
    """

    job: JobRow
    version: DatasetVersionRow | None
    active_s: float
    claimed_at: float


class AttemptRunner:
    """Runs one attempt and ends its trainer. It stops writing to the database when the lease is lost."""

    def __init__(
        self,
        context: WorkerContext,
        claimed: ClaimedJob,
        allocation: DeviceAllocation,
        is_shutting_down: Callable[[], bool],
    ) -> None:
        job, clock, timeouts = claimed.job, context.clock, context.timeouts
        limit_s = job.spec.get("max_runtime_s")
        self._context = context
        self._claimed = claimed
        self._allocation = allocation
        self._lease = LeaseRenewer(context.sessions, job, timeouts, clock)
        self._recorder = Recorder(
            context.sessions,
            context.storage,
            job,
            lambda: self._lease.is_lease_lost,
            queues_variants=context.queues_variants,
        )
        self._timeouts = AttemptTimeouts(
            clock,
            grace_s=timeouts.grace_s,
            stall_s=timeouts.stall_s,
            remaining_s=None if limit_s is None else limit_s - claimed.active_s,
        )
        self._stop = StopController(self._timeouts, lambda: self._lease.stop_request, is_shutting_down)
        self._work_dir: Path | None = None
        self._trainers: TrainerSource = allocation.trainers or context.trainers
        self._trainer: TrainerProcess | None = None
        self._flushed_at = clock()

    def run(self) -> bool:
        """Run the attempt. Return False if the storage is unavailable: an immediate retry would also fail."""
        log.info("attempt.started", token=self._claimed.job.token)
        self._lease.start()
        try:
            self._record_outcome(self._execute())
        except LostLease as error:
            log.warning("attempt.lease_lost", error=str(error))
        except Unavailable as error:  # the attempt does not count as lost: the job is retried later
            log.warning("attempt.storage_unavailable", error=error.detail)
            self._kill_trainer()
            with suppress(LostLease):
                self._recorder.completion.release("storage unavailable")
            return False
        except Exception:  # a bug in the worker: the job is retried, up to the retry limit
            log.exception("attempt.crashed")
            self._kill_trainer()
            cause = build_failure("internal", "The worker failed while it ran the job; see the worker's log.")
            with suppress(LostLease):
                self._recorder.completion.record_loss(cause, self._context.max_attempts)
        finally:
            self._kill_trainer()
            self._lease.stop()
            self._clean_up()
            log.info("attempt.ended")
        return True

    def _execute(self) -> AttemptOutcome:
        header = describe_attempt(self._claimed.job.attempt, self._context.owner, self._allocation.name)
        self._recorder.progress.log_message("info", header)
        staging = InputStaging(
            self._context.storage,
            self._recorder,
            self._claimed.job,
            self._claimed.version,
            self._context.weights_dir,
        )
        try:
            start = staging.stage_inputs(LEASE_SHARE * self._context.timeouts.lease_s)
        except StorageFull as error:
            return AttemptFailed(build_failure("disk_full", error.detail, "", error.extra))
        except CorruptFile as error:
            code = "checkpoint_corrupt" if "checkpoints" in error.extra["key"] else "dataset_corrupt"
            hint = "Restore the files from a backup, or submit the job again."
            return AttemptFailed(build_failure(code, error.detail, hint, error.extra))
        except (ValidationError, InvalidSpec, NotFound) as error:
            hint = "Correct the named field and submit the job again."
            return AttemptFailed(build_failure("invalid_spec", summarize_error(error), hint))
        self._work_dir = Path(start.work_dir)
        if self._stop.must_stop_now:
            return self._stop.build_outcome()
        return self._supervise_trainer(start)

    def _supervise_trainer(self, start: Start) -> AttemptOutcome:
        num_kills_before = count_oom_kills()
        trainer = self._trainer = self._trainers.take()
        self._lease.attach_trainer(trainer)
        trainer.send(start.model_copy(update=self._build_start_fields()))
        self._timeouts.expect_start()
        handler = self._build_handler(trainer)
        try:
            while True:
                outcome = self._handle_next_message(trainer, handler)
                if outcome is not None:
                    return outcome
        except TrainerExited:
            return self._handle_trainer_exit(trainer, has_oom_kill=count_oom_kills() > num_kills_before)

    def _build_start_fields(self) -> dict[str, Any]:
        """Return the fields of the start message that depend on this worker or on earlier attempts and jobs."""
        job = self._claimed.job
        return {
            **self._allocation.to_start_fields(),
            "archive_limits": self._context.archive_limits,
            "max_feature_bytes": self._context.max_feature_bytes,
            "worker_slots": self._context.slots,
            **self._context.measured_choices.find(job.spec, job.runtime),
        }

    def _build_handler(self, trainer: TrainerProcess) -> MessageHandler:
        placement = {
            "worker": self._context.owner,
            "worker_device": self._allocation.name,
            "trainer_pid": trainer.pid,
            **describe_installation(),
        }
        return MessageHandler(
            self._recorder,
            self._context.storage,
            self._claimed.version,
            self._stop,
            placement,
            on_start=self._handle_start,
            get_attempt_s=lambda: self._context.clock() - self._claimed.claimed_at,
        )

    def _handle_start(self, message: RunStarted) -> None:
        self._trainers.replenish()
        self._context.measured_choices.record(self._claimed.job.spec, message.runtime)

    def _handle_next_message(self, trainer: TrainerProcess, handler: MessageHandler) -> AttemptOutcome | None:
        mode = self._stop.forward_stop_request(trainer)
        if mode is not None:
            self._recorder.progress.log_message("info", STOP_REQUESTS[mode])
        self._stop.enforce_timeouts(trainer)
        flush_s = self._context.timeouts.flush_s
        message = trainer.receive(flush_s if self._recorder.progress.has_unwritten else max(flush_s, _POLL_S))
        if message is None or self._context.clock() - self._flushed_at >= flush_s:
            self._recorder.progress.flush()
            self._flushed_at = self._context.clock()
        if message is None:
            return None
        self._timeouts.record_message()
        return handler.handle(message)

    def _handle_trainer_exit(self, trainer: TrainerProcess, *, has_oom_kill: bool) -> AttemptOutcome:
        """Return the outcome of an attempt whose trainer exited without a final message."""
        status = trainer.stop(timeout_s=_EXIT_WAIT_S)
        if self._lease.is_lease_lost:
            raise LostLease("The lease was lost while the trainer ran.")
        self._recorder.progress.flush()
        if self._stop.is_immediate_stop_forwarded:
            return self._stop.build_outcome()
        output = trainer.read_stderr_tail()
        log.error("trainer.exited", status=status, stderr=output)
        outcome = classify_trainer_exit(status, is_stalled=self._timeouts.is_stalled, has_oom_kill=has_oom_kill)
        return replace(outcome, detail=describe_exit(status, output))

    def _handle_disk_full(self, outcome: DiskFull) -> AttemptLost | AttemptFailed:
        """Delete checkpoints that are not needed. Return an outcome that retries the job if this freed space."""
        self._clean_up()
        can_retry = self._recorder.files.free_space()
        return AttemptLost(outcome.failure) if can_retry else AttemptFailed(outcome.failure)

    def _record_outcome(self, outcome: AttemptOutcome) -> None:
        if isinstance(outcome, DiskFull):
            outcome = self._handle_disk_full(outcome)
        match outcome:
            case AttemptSucceeded():
                pass
            case AttemptReleased(reason=reason):
                self._recorder.completion.release(reason)
            case AttemptPaused(epoch=epoch):
                self._recorder.completion.pause_at_milestone(epoch)
            case AttemptLost(failure=cause, detail=detail):
                self._recorder.completion.record_loss(cause, self._context.max_attempts, detail)
            case AttemptFailed(failure=cause):
                self._recorder.completion.fail(cause)
            case _:
                assert_never(outcome)

    def _kill_trainer(self) -> None:
        if self._trainer is not None:
            self._trainer.kill()

    def _clean_up(self) -> None:
        if self._trainer is not None:
            self._trainer.stop()
            self._trainer.close()
            self._trainer = None
            self._trainers.release()
        if self._work_dir is not None:
            shutil.rmtree(self._work_dir, ignore_errors=True)
