"""One job from claim to finish: starts a trainer, watches it, and has what it says written down."""

import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import structlog
from pydantic import ValidationError

from core.db.repos.attempts import AttemptRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.placement import devices_of
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import CorruptFile, InvalidSpec, LostLease, NotFound, StorageFull, Unavailable
from core.failures import FAILURES, failure
from core.jobs import StopRequest
from core.storage import Storage
from worker import protocol
from worker.control.devices import DeviceAllocator, DeviceLease
from worker.control.lease import LEASE_SHARE, LeaseRenewer, SupervisionTimeouts
from worker.control.oom import num_oom_kills
from worker.control.recorder import Recorder
from worker.control.staging import InputStaging, check_storage, dataset_lineage
from worker.control.standby import Standby
from worker.control.timeouts import AttemptTimeouts, active_seconds
from worker.control.tracing import AttemptTracer
from worker.control.trainer_process import TrainerExited, TrainerProcess
from worker.protocol import Alive, Answered, Artifact, Checkpoint, Failed, Finished, Log, Metrics, Started, Stopped

log = structlog.get_logger()
Mode = Literal["cancel", "pause", "preempt", "finish"]
_POLL_S = 0.1


class Supervisor:
    """Runs jobs, several at a time where it is called by several threads, until the worker leaves."""

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        standby: Standby,
        owner: str,
        cadence: SupervisionTimeouts,
        max_attempts: int = 5,
        clock: Callable[[], float] = time.monotonic,
        weights_dir: Path = Path("/nonexistent"),
    ) -> None:
        self.sessions, self.storage, self.standby, self.weights_dir = sessions, storage, standby, weights_dir
        self.owner, self.cadence, self.max_attempts, self.clock = owner, cadence, max_attempts, clock
        self.devices = DeviceAllocator()  # the CPU alone, unless somebody tells of more
        self.traces = AttemptTracer()
        self.is_leaving = False

    def leave(self) -> None:
        """Take no more jobs; those that run leave a snapshot and go back into the queue.

        It only sets a flag, since it is called by a signal's handler.
        """
        self.is_leaving = True

    def run(self, job_id: str) -> bool:
        """Claim the job and bring it to an end, or back into the queue; False if it cannot be done just now."""
        if self.is_leaving:
            return False
        with transaction(self.sessions) as session:
            given = job_id, self.owner, self.cadence.lease_s, self.max_attempts
            job = AttemptRepo(session).claim(*given, self.devices.capacity)
            if job is None:
                return False
            version = DatasetRepo(session).get(job.dataset_version_id)
            spent_s = active_seconds(EventRepo(session).transitions(job_id))
        with (
            self.traces.attempt(job, self.sessions),
            self.devices.allocate(job.spec.get("device", "auto"), devices_of(job.spec)) as lent,
        ):
            return AttemptRunner(self, job, version, spent_s, lent).run()


class AttemptRunner:
    """One claim of a job. Whatever happens, no process of it is left, and no write after the lease is lost."""

    def __init__(
        self, supervisor: Supervisor, job: JobRow, version: DatasetVersionRow, spent_s: float, lent: DeviceLease
    ) -> None:
        self._supervisor, self._job, self._version = supervisor, job, version
        self._lent, self._standby = lent, lent.standby or supervisor.standby
        self._dataset = dataset_lineage(version)
        self._cadence, self._clock = supervisor.cadence, supervisor.clock
        self._heart = LeaseRenewer(supervisor.sessions, job.id, job.token, supervisor.cadence, supervisor.clock)
        self._recorder = Recorder(supervisor.sessions, supervisor.storage, job, lambda: self._heart.is_lease_lost)
        self._work_dir: Path | None = None
        self._trainer: TrainerProcess | None = None
        self._asked: Mode | None = None
        self._flushed = self._clock()
        limit_s = job.spec.get("max_runtime_s")
        self._patience = AttemptTimeouts(
            self._clock,
            grace_s=self._cadence.grace_s,
            stall_s=self._cadence.stall_s,
            left_s=None if limit_s is None else limit_s - spent_s,
        )

    def run(self) -> bool:
        """The whole attempt; False where the storage is away: another try at once would end in the same way."""
        log.info("attempt.started", token=self._job.token)
        self._heart.start()
        try:
            self._run()
        except LostLease as error:
            log.warning("attempt.fenced", error=str(error))
        except Unavailable as error:  # no fault of the job's: it waits until the storage is back
            log.warning("attempt.without_storage", error=error.detail)
            self._kill()
            with suppress(LostLease):
                self._recorder.release("storage unavailable")
            return False
        except Exception:  # a defect: another attempt may do better, up to the cap
            log.exception("attempt.broke")
            self._kill()
            with suppress(LostLease):
                self._lose("internal", "The worker could not go on with the job; its log says why.")
        finally:
            self._kill()
            self._heart.stop()
            self._clean_up()
            log.info("attempt.ended")
        return True

    def _run(self) -> None:
        given = self._supervisor.storage, self._recorder, self._job, self._version
        preparation = InputStaging(*given, self._supervisor.weights_dir)
        try:
            start = preparation.start(LEASE_SHARE * self._cadence.lease_s)
            self._work_dir = Path(start.work_dir)
        except StorageFull as error:
            self._fail("disk_full", error.detail, facts=error.facts)
            return
        except CorruptFile as error:
            code = "checkpoint_corrupt" if "checkpoints" in error.facts["key"] else "dataset_corrupt"
            self._fail(code, error.detail, "Restore the files from a copy, or post the job again.", error.facts)
            return
        except (ValidationError, InvalidSpec, NotFound) as error:
            self._fail("invalid_spec", str(error), "Change what is named and post the job again.")
            return
        if self._wanted() in ("cancel", "pause", "preempt"):
            self._leave()
            return
        num_kills_before = num_oom_kills()
        self._trainer = self._standby.take()
        self._heart.attach(self._trainer)
        self._trainer.send(start.model_copy(update=self._lent.to_start_fields()))
        self._patience.expect_start()
        try:
            while not self._is_last(self._next_message()):
                pass
        except TrainerExited:
            self._bury(self._trainer, num_oom_kills() > num_kills_before)

    def _next_message(self) -> protocol.Up | None:
        assert self._trainer is not None  # noqa: S101 - taken before
        self._pass_on_wishes(self._trainer)
        wait_s = self._cadence.flush_s if self._recorder.has_unwritten else max(self._cadence.flush_s, _POLL_S)
        message = self._trainer.receive(wait_s)
        if message is None or self._clock() - self._flushed >= self._cadence.flush_s:
            self._recorder.flush()
            self._flushed = self._clock()
        return message

    def _pass_on_wishes(self, trainer: TrainerProcess) -> None:
        wanted = self._wanted()
        if wanted is not None and wanted != self._asked:
            log.info("attempt.stop_asked", mode=wanted)
            self._asked = wanted
            trainer.send(protocol.Stop(mode=wanted))
            self._patience.start_grace_period(at_once=wanted != "finish")
        if self._patience.is_grace_expired or self._patience.is_stalled:
            log.warning("attempt.not_waited_for", asked=self._asked, is_stalled=self._patience.is_stalled)
            trainer.kill()

    def _wanted(self) -> Mode | None:
        match self._heart.stop_request:
            case StopRequest.CANCEL:
                return "cancel"
            case StopRequest.PAUSE:
                return "pause"
            case _ if self._supervisor.is_leaving or self._patience.is_over_time_limit:
                return "preempt"
            case StopRequest.FINISH:
                return "finish"
            case None:
                return None

    def _is_last(self, message: protocol.Up | None) -> bool:
        """Write down what the trainer said; whether it was its last word."""
        if message is not None:
            self._patience.touch()
        match message:
            case None | Alive():
                return False
            case Started(runtime=runtime):
                self._standby.replenish()
                pid = self._trainer.pid if self._trainer else None
                place = {"worker": self._supervisor.owner, "worker_device": self._lent.name, "trainer_pid": pid}
                self._recorder.describe({**runtime, **place})
                return False
            case Metrics():
                self._recorder.buffer(message)
                return False
            case Log(level=level, message=text):
                self._recorder.warn(text) if level == "warning" else self._recorder.log(level, text)
                return False
            case Checkpoint():
                self._recorder.flush()
                return not self._stored(lambda: self._recorder.checkpoint(message))
            case Artifact():
                return not self._stored(lambda: self._recorder.artifact(message))
            case Finished():
                self._recorder.flush()
                self._stored(lambda: self._recorder.finish(message, self._dataset))
            case Answered():
                self._recorder.flush()
                self._stored(lambda: self._recorder.complete(message))
            case Stopped():
                self._recorder.flush()
                self._leave()
            case Failed(code=code, message=text, hint=hint, facts=facts):
                self._recorder.flush()
                if code == "internal":
                    check_storage(self._supervisor.storage)
                if code == "disk_full":
                    self._run_out(text, hint, facts)
                else:
                    (self._lose if FAILURES[code].is_retried else self._fail)(code, text, hint, facts)
        return True

    def _stored(self, store: Callable[[], None]) -> bool:
        try:
            store()
        except StorageFull as error:
            self._run_out(error.detail, "", error.facts)
            return False
        return True

    def _run_out(self, message: str, hint: str, facts: dict[str, Any]) -> None:
        """No space is left: another try if the job's older checkpoints can make room, else it has failed."""
        self._clean_up()
        if self._recorder.free_space():
            self._lose("disk_full", message, hint, facts)
        else:
            self._fail("disk_full", message, hint, facts)

    def _bury(self, trainer: TrainerProcess, was_out_of_memory: bool) -> None:
        """The trainer ended without a last word."""
        status = trainer.stop(patience_s=1.0)
        if self._heart.is_lease_lost:
            raise LostLease("the lease was lost while the trainer ran")
        self._recorder.flush()
        if self._asked in ("cancel", "pause", "preempt"):
            self._leave()
            return
        self._recorder.log("error", f"The trainer ended with status {status} without a word. {trainer.last_errors()}")
        if self._patience.is_stalled:
            self._lose("stalled")
        elif status == -signal.SIGKILL and was_out_of_memory:
            self._lose("host_out_of_memory")
        else:
            self._lose("worker_lost")

    def _leave(self) -> None:
        """The attempt ends as it was asked to."""
        wanted = self._wanted()
        if wanted == "preempt" and self._patience.is_over_time_limit and not self._supervisor.is_leaving:
            self._fail("time_limit")
            return
        self._recorder.release({"cancel": "cancelled", "pause": "paused"}.get(wanted or "", "worker left"))

    def _lose(self, code: str, message: str = "", hint: str = "", facts: dict[str, Any] | None = None) -> None:
        self._recorder.mark_lost(failure(code, message, hint, facts), self._supervisor.max_attempts)

    def _fail(self, code: str, message: str = "", hint: str = "", facts: dict[str, Any] | None = None) -> None:
        self._recorder.fail(failure(code, message, hint, facts))

    def _kill(self) -> None:
        if self._trainer is not None:
            self._trainer.kill()

    def _clean_up(self) -> None:
        if self._trainer is not None:
            self._trainer.stop()
            self._trainer.close()
            self._trainer = None
        if self._work_dir is not None:
            shutil.rmtree(self._work_dir, ignore_errors=True)
