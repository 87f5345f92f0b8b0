"""Queries for the jobs of sweeps: what maintenance watches, stops, continues and registers."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from core.db.registry_tables import JobBundleRow
from core.db.repos.checkpoints import CheckpointRepo, build_is_source
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.transitions import lock_jobs
from core.db.sweep_tables import SweepRow, SweepTrialRow
from core.db.tables import CheckpointRow, JobRow
from core.jobs import SWEEP, TERMINAL, JobState, StopRequest
from core.sweeps.states import OPEN_SWEEP, TrialState

PAUSED_BY_SWEEP, CANCELLED_BY_SWEEP = f"{SWEEP}_{JobState.PAUSED}", f"{SWEEP}_{JobState.CANCELLED}"
"""The `stop_reason` of a job that its sweep has paused, or cancelled."""


class OpenSweep(NamedTuple):
    """A sweep that has not ended, and the revision of its rows."""

    id: str
    revision: int


class TrialJob(NamedTuple):
    """The columns of a job of a trial that decide what its sweep does."""

    id: str
    trial: int | None
    state: JobState
    stop_reason: str | None
    milestone_epoch: int


class SweepJobRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_open_sweeps(self) -> list[OpenSweep]:
        """List the sweeps that have not ended, oldest first."""
        query = select(SweepRow.id, SweepRow.revision).where(SweepRow.state.in_(OPEN_SWEEP))
        rows = self._session.execute(query.order_by(SweepRow.created_at, SweepRow.id))
        return [OpenSweep(sweep_id, revision) for sweep_id, revision in rows]

    def list_trial_jobs(
        self, sweep_id: str, trials: Collection[int] | None = None, *, states: Collection[JobState] | None = None
    ) -> list[TrialJob]:
        """List jobs of a sweep by trial and repeat: of these trials, and in these states. Default: all."""
        row = JobRow
        query = select(row.id, row.sweep_trial, row.state, row.stop_reason, row.milestone_epoch)
        query = query.where(row.sweep_id == sweep_id)
        if trials is not None:
            query = query.where(row.sweep_trial.in_(trials))
        if states is not None:
            query = query.where(row.state.in_(states))
        rows = self._session.execute(query.order_by(row.sweep_trial, row.sweep_repeat))
        return [TrialJob(*fields) for fields in rows]

    def stop(self, job_ids: Collection[str], stop_request: StopRequest) -> None:
        """Pause or cancel jobs for their sweep. Jobs that have ended, or that are being cancelled, are skipped."""
        for job in lock_jobs(self._session, job_ids):
            if job.state not in TERMINAL and job.state is not JobState.CANCELLING:
                JobRepo(self._session).request_stop(job.id, stop_request, origin=SWEEP)

    def resume(self, job_ids: Collection[str]) -> None:
        """Continue jobs that their sweep has paused. A job that is not validated yet gets its message later."""
        for job in lock_jobs(self._session, job_ids):
            if job.state is JobState.PAUSED and job.stop_reason == PAUSED_BY_SWEEP:
                JobRepo(self._session).resume(job.id)
                if job.is_resolved:
                    OutboxRepo(self._session).add_missing("train", job.id)

    def stop_waiting_trials(self, sweep_id: str, reason: str, limit: int) -> None:
        """Stop trials that wait to be continued, because their sweep ends."""
        waiting = (TrialState.PAUSED, TrialState.INTERRUPTED)
        query = select(SweepTrialRow).where(SweepTrialRow.sweep_id == sweep_id, SweepTrialRow.state.in_(waiting))
        rows = self._session.scalars(query.order_by(SweepTrialRow.number).limit(limit)).all()
        for row in rows:
            row.state, row.reason = TrialState.STOPPED, reason
        self._session.flush()

    def list_registrable(self, sweep_id: str, trials: Collection[int], limit: int) -> list[str]:
        """List the ids of the jobs of these trials, the first of each, that have an unregistered network."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.sweep_trial.in_(trials))
        query = query.where(JobRow.sweep_repeat == 0, JobRow.state == JobState.SUCCEEDED)
        query = query.where(exists().where(JobBundleRow.job_id == JobRow.id))
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial).limit(limit)))

    def register(self, job_ids: Sequence[str], *, queues_variants: bool = False) -> None:
        """Register the networks of jobs as versions of their model, in this order; see `JobBundleRepo.register`."""
        for job_id in job_ids:
            JobBundleRepo(self._session).register(job_id, queues_variant=queues_variants)

    def get_version(self, sweep_id: str, trial: int) -> int | None:
        """Return the model version that the first job of a trial has registered; None if it has not."""
        query = select(JobRow.model_version).where(JobRow.sweep_id == sweep_id, JobRow.sweep_trial == trial)
        return self._session.scalars(query.where(JobRow.sweep_repeat == 0)).one_or_none()

    def list_trials_with_checkpoints(self, sweep_id: str) -> list[int]:
        """List the trials that have a checkpoint, by number."""
        query = select(JobRow.sweep_trial).where(JobRow.sweep_id == sweep_id).distinct()
        query = query.where(exists().where(CheckpointRow.job_id == JobRow.id)).order_by(JobRow.sweep_trial)
        return [trial or 0 for trial in self._session.scalars(query)]

    def list_jobs_with_bundle(self, sweep_id: str, trials: Collection[int], limit: int) -> list[str]:
        """List the ids of the jobs of these trials that have an unregistered network."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.sweep_trial.in_(trials))
        query = query.where(exists().where(JobBundleRow.job_id == JobRow.id))
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat).limit(limit)))

    def list_jobs_with_checkpoints(self, sweep_id: str, trials: Collection[int], limit: int) -> list[str]:
        """List the ids of the jobs of these trials that have ended, and have checkpoints that nothing starts from."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.sweep_trial.in_(trials))
        has_checkpoint = exists().where(CheckpointRow.job_id == JobRow.id)
        query = query.where(JobRow.state.in_(TERMINAL), has_checkpoint, ~build_is_source())
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat).limit(limit)))

    def delete_bundles(self, job_ids: Collection[str]) -> list[str]:
        """Delete the unregistered networks of jobs, and return their storage keys.

        A network that a client has registered meanwhile remains. The caller deletes the files after the commit.
        """
        lock_jobs(self._session, job_ids)
        deleted = delete(JobBundleRow).where(JobBundleRow.job_id.in_(job_ids)).returning(JobBundleRow.key)
        return list(self._session.scalars(deleted))

    def delete_checkpoints(self, job_ids: Collection[str]) -> list[str]:
        """Delete the checkpoints of jobs that have ended, and return their storage keys.

        Jobs from whose checkpoints others start are skipped. The caller deletes the files after the commit.
        """
        checkpoints = CheckpointRepo(self._session)
        return [key for job in lock_jobs(self._session, job_ids) for key in checkpoints.delete_all(job.id)]
