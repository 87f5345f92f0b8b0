"""Ends sweeps: stops their jobs, registers the best trial and deletes the files that are not kept."""

import structlog

from core.db.repos.sweep_jobs import SweepJobRepo
from core.db.repos.sweeps import CANCELLED, SweepRepo
from core.db.session import SessionFactory, transaction
from core.jobs import JobState, StopRequest
from core.storage import Storage
from core.sweeps.retained_files import count_registered, find_best_complete, find_unneeded
from core.sweeps.states import SweepState, TrialState
from core.sweeps.trials import Scores, SweepTrial
from worker.maintenance.sweeps.file_deletion import find_deletion
from worker.maintenance.sweeps.snapshot import SweepSnapshot
from worker.maintenance.sweeps.steps import SweepSteps

log = structlog.get_logger()
MAX_ENDED = 100
"""Trials that are stopped, or registered, in one transaction."""


class SweepFinisher:
    """Ends a sweep in several transactions. Each of them can be the last one of a process that is killed.

    Args:
        queues_variants: whether jobs that choose the variants of registered versions are queued.
    """

    def __init__(
        self, sessions: SessionFactory, storage: Storage, steps: SweepSteps, *, queues_variants: bool = False
    ) -> None:
        self._sessions = sessions
        self._storage = storage
        self._steps = steps
        self._queues_variants = queues_variants

    def advance(self, snapshot: SweepSnapshot) -> bool:
        """Do the next step of the end. Return False if jobs are still running."""
        open_jobs = [job.id for job in snapshot.stoppable if job.state is not JobState.CANCELLING]
        if self._steps.stop_jobs(snapshot, open_jobs, StopRequest.CANCEL):
            return True
        if any(trial.state in (TrialState.PAUSED, TrialState.INTERRUPTED) for trial in snapshot.trials):
            with self._steps.change(snapshot) as (session, _):
                SweepJobRepo(session).stop_waiting_trials(snapshot.row.id, "sweep_ended", MAX_ENDED)
            return True
        if snapshot.stoppable or any(trial.is_running for trial in snapshot.trials):
            return False
        return self._register(snapshot) or self._delete_files(snapshot) or self._end(snapshot)

    def _register(self, snapshot: SweepSnapshot) -> bool:
        """Register networks. Return False if all are registered."""
        numbers = list_registered(snapshot)
        with transaction(self._sessions, read_only=True) as session:
            job_ids = SweepJobRepo(session).list_registrable(snapshot.row.id, numbers, MAX_ENDED)
        if not job_ids:
            return False
        with self._steps.change(snapshot) as (session, _):
            SweepJobRepo(session).register(job_ids, queues_variants=self._queues_variants)
        return True

    def _delete_files(self, snapshot: SweepSnapshot) -> bool:
        """Delete files that are not kept. Return False if there are no more."""
        with transaction(self._sessions, read_only=True) as session:
            stored = set(SweepJobRepo(session).list_trials_with_checkpoints(snapshot.row.id))
            unneeded = find_unneeded(snapshot.spec, snapshot.trials, stored=stored)
            deletion = find_deletion(session, snapshot.row.id, unneeded)
        if deletion.is_empty:
            return False
        with self._steps.change(snapshot) as (session, _):
            deletion.apply(session, self._storage)
        return True

    def _end(self, snapshot: SweepSnapshot) -> bool:
        best, complete = find_best(snapshot), find_best_complete(snapshot.spec, snapshot.trials)
        with transaction(self._sessions) as session:
            repo = SweepRepo(session)
            sweep = repo.find(snapshot.row.id, is_locked=True)
            if sweep is None or sweep.state is not SweepState.FINISHING:
                return True
            version = None if complete is None else SweepJobRepo(session).get_version(sweep.id, complete.number)
            sweep.registered_version = version
            state = SweepState.FAILED if best is None else SweepState.SUCCEEDED
            repo.end(sweep, SweepState.CANCELLED if sweep.finish_reason == CANCELLED else state)
        log.info(
            "sweep.ended",
            sweep_id=snapshot.row.id,
            reason=snapshot.row.finish_reason,
            best_trial=None if best is None else best.number,
            best_complete_trial=None if complete is None else complete.number,
            registered_version=version,
        )
        return True


def find_best(snapshot: SweepSnapshot) -> SweepTrial | None:
    """Return the trial with the best score; None if no trial has a finite score."""
    return Scores(snapshot.spec.objective).find_best(snapshot.trials)


def list_registered(snapshot: SweepSnapshot) -> list[int]:
    """Return the trials whose networks become versions: the best complete one, all complete ones, or none."""
    complete = [trial for trial in snapshot.trials if trial.state is TrialState.SUCCEEDED]
    ranked = Scores(snapshot.spec.objective).rank(complete)
    if snapshot.row.finish_reason == CANCELLED:
        return []
    return sorted(trial.number for trial in ranked[: count_registered(snapshot.spec, len(ranked))])
