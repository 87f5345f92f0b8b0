"""The controller of sweeps, which continues each open sweep as soon as one of its jobs or a client has changed it."""

import math
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.repos.datasets import DatasetRepo
from core.db.repos.sweep_jobs import PAUSED_BY_SWEEP, OpenSweep, SweepJobRepo, TrialJob
from core.db.session import SessionFactory, transaction
from core.errors import Unavailable
from core.jobs import UNFINISHED, DatasetState, JobState, StopRequest
from core.storage import Storage
from core.sweeps.decisions import Decision, FinishSweep, PromoteTrial, StartTrial, StopTrial
from core.sweeps.ordered_decisions import OrderedDecision, decide_in_order
from core.sweeps.sampling import Suggestion
from core.sweeps.scheduling import decide_next
from core.sweeps.states import SweepState, TrialSource
from worker.maintenance.sweeps.finishing import SweepFinisher
from worker.maintenance.sweeps.results import list_results
from worker.maintenance.sweeps.snapshot import SweepSnapshot, read_snapshot
from worker.maintenance.sweeps.steps import SweepChanged, SweepSteps
from worker.maintenance.sweeps.suggester import ParameterSuggester

log = structlog.get_logger()
IDLE_INTERVAL_S = 0.5
BUSY_INTERVAL_S = 0.1
"""Seconds between two rounds while a sweep is open: a trial ends, and the next one starts, without a client."""
MAX_STEPS = 100
"""Steps of a sweep per round, so that other sweeps are not delayed for long."""
RETRY_DELAY_S, ERROR_DELAY_S = 2.0, 30.0
"""Seconds until a sweep is tried again while the database or a sampler is unavailable, and after a defect."""


class _Watch(NamedTuple):
    """A sweep that waits: nothing is read again before its revision, its jobs, its dataset or the time change.

    Attributes:
        trials: the running trials, and `jobs` their jobs.
        unfinished: all jobs that a finishing sweep waits for; None for other sweeps.
        importing: the id of the dataset version that the sweep waits for.
    """

    revision: int
    until: float
    trials: Sequence[int] = ()
    jobs: Sequence[TrialJob] = ()
    unfinished: Sequence[TrialJob] | None = None
    importing: str | None = None


class SweepController:
    """Runs rounds over all open sweeps. Several processes may run them: a step is written for one revision only.

    Args:
        wake_relay: called after a commit with a new outbox row, to wake this process's outbox relay.
        queues_variants: whether jobs that choose the variants of registered versions are queued.
        clock: returns the current time in seconds.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        wake_relay: Callable[[], None],
        *,
        suggester: ParameterSuggester | None = None,
        queues_variants: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._suggester = suggester or ParameterSuggester()
        self._steps = SweepSteps(sessions, storage, wake_relay)
        self._finisher = SweepFinisher(sessions, storage, self._steps, queues_variants=queues_variants)
        self._clock = clock
        self._watches: dict[str, _Watch] = {}
        self._has_open = False

    def get_interval_s(self) -> float:
        """Return the seconds until the next round."""
        return BUSY_INTERVAL_S if self._has_open else IDLE_INTERVAL_S

    def close(self) -> None:
        """End the process that suggests parameters."""
        self._suggester.close()

    def run_once(self) -> None:
        """Continue every open sweep as far as possible."""
        with transaction(self._sessions, read_only=True) as session:
            sweeps = SweepJobRepo(session).list_open_sweeps()
            changed = [sweep for sweep in sweeps if not self._is_waiting(session, sweep)]
        self._has_open = bool(sweeps)
        self._watches = {sweep.id: self._watches[sweep.id] for sweep in sweeps if sweep.id in self._watches}
        for sweep in changed:
            self._run_sweep(sweep)
        self._suggester.close_idle()

    def _is_waiting(self, session: Session, sweep: OpenSweep) -> bool:
        watch = self._watches.get(sweep.id)
        if watch is None or watch.revision != sweep.revision or self._clock() >= watch.until:
            return False
        version = None if watch.importing is None else DatasetRepo(session).find(watch.importing)
        if version is not None and version.state is not DatasetState.IMPORTING:
            return False
        repo = SweepJobRepo(session)
        if watch.trials and repo.list_trial_jobs(sweep.id, watch.trials) != watch.jobs:
            return False
        return watch.unfinished is None or repo.list_trial_jobs(sweep.id, states=UNFINISHED) == watch.unfinished

    def _run_sweep(self, sweep: OpenSweep) -> None:
        self._watches.pop(sweep.id, None)
        try:
            for _ in range(MAX_STEPS):
                if not self.advance(sweep.id):
                    break
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.warning("sweep.round_failed", sweep_id=sweep.id, error=str(error))
            self._delay(sweep, RETRY_DELAY_S)
        except Exception:  # a defect must not stop the other sweeps
            log.exception("sweep.round_crashed", sweep_id=sweep.id)
            self._delay(sweep, ERROR_DELAY_S)

    def _delay(self, sweep: OpenSweep, seconds: float) -> None:
        self._watches[sweep.id] = _Watch(sweep.revision, self._clock() + seconds)

    def advance(self, sweep_id: str) -> bool:
        """Do the next step of a sweep. Return False if it waits or has ended."""
        try:
            return self._advance(sweep_id)
        except SweepChanged:  # by a client or another process
            return True

    def _advance(self, sweep_id: str) -> bool:
        with transaction(self._sessions, read_only=True) as session:
            snapshot = read_snapshot(session, sweep_id)
            if snapshot is None:
                return False
            results = list_results(session, snapshot)
        if results:
            return self._steps.record_results(snapshot, results)
        match snapshot.row.state:
            case SweepState.PAUSED:
                has_changed = self._pause_jobs(snapshot)
            case SweepState.FINISHING:
                has_changed = self._finisher.advance(snapshot)
            case _:
                has_changed = self._resume_jobs(snapshot) or self._decide(snapshot)
        if not has_changed:
            self._watch(snapshot)
        return has_changed

    def _watch(self, snapshot: SweepSnapshot) -> None:
        """Wait for a change of the sweep or its jobs, and until its hours have passed."""
        row = snapshot.row
        is_importing = row.state is SweepState.RUNNING and snapshot.dataset_state is DatasetState.IMPORTING
        hours = snapshot.spec.budget.hours if row.state is SweepState.RUNNING else None
        remaining_s = math.inf if hours is None else hours * 3600 - snapshot.active_s
        until = self._clock() + (remaining_s if remaining_s > 0 else math.inf)
        # The jobs as they were judged: on PostgreSQL, another query may see later states.
        jobs = [
            TrialJob(job.id, job.sweep_trial, job.state, job.stop_reason, job.milestone_epoch)
            for job in snapshot.list_jobs()
        ]
        self._watches[row.id] = _Watch(
            row.revision,
            until,
            list(snapshot.jobs),
            jobs,
            unfinished=snapshot.stoppable if row.state is SweepState.FINISHING else None,
            importing=row.dataset_version_id if is_importing else None,
        )

    def _pause_jobs(self, snapshot: SweepSnapshot) -> bool:
        return self._steps.stop_jobs(snapshot, [job.id for job in snapshot.stoppable], StopRequest.PAUSE)

    def _resume_jobs(self, snapshot: SweepSnapshot) -> bool:
        paused = [job.id for job in snapshot.list_jobs(JobState.PAUSED) if job.stop_reason == PAUSED_BY_SWEEP]
        return self._steps.resume_jobs(snapshot, paused)

    def _decide(self, snapshot: SweepSnapshot) -> bool:
        if snapshot.dataset_state is DatasetState.IMPORTING:
            return False
        if snapshot.dataset_state is DatasetState.FAILED:
            return self._steps.finish(snapshot, FinishSweep("dataset_failed"))
        decision, suggestion = self._choose(snapshot)
        match decision:
            case StartTrial() if suggestion is not None:
                return self._steps.start_trial(snapshot, decision, suggestion)
            case PromoteTrial():
                return self._steps.promote_trial(snapshot, decision)
            case StopTrial():
                return self._steps.stop_trial(snapshot, decision)
            case FinishSweep():
                return self._steps.finish(snapshot, decision)
            case _:
                return False

    def _choose(self, snapshot: SweepSnapshot) -> tuple[Decision, Suggestion | None]:
        """Return the next decision, with the parameters of a trial that starts. No transaction is open meanwhile."""
        decision, visible = decide(snapshot)
        if not isinstance(decision, StartTrial):
            return decision, None
        if decision.parameters is not None:
            return decision, Suggestion(decision.number, decision.parameters, TrialSource.COPY)
        suggestion = self._suggester.suggest(snapshot.spec, visible)
        if suggestion is not None:
            return decision, suggestion
        return decide(snapshot, is_exhausted=True).decision, None


def decide(snapshot: SweepSnapshot, *, is_exhausted: bool = False) -> OrderedDecision:
    """Return the next decision, and the trials that it is based on."""
    hours = snapshot.active_s / 3600
    if snapshot.spec.deterministic:
        return decide_in_order(
            snapshot.spec, snapshot.trials, snapshot.steps, elapsed_hours=hours, is_exhausted=is_exhausted
        )
    decision = decide_next(snapshot.spec, snapshot.trials, elapsed_hours=hours, is_exhausted=is_exhausted)
    return OrderedDecision(decision, snapshot.trials)
