"""Defines the queries for attempts of jobs.

A worker claims a job with a conditional update and then holds its lease. Writes of earlier attempts are rejected
because their fencing token is lower.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, select, update
from sqlalchemy.orm import Session, undefer

from core.db.clock import now
from core.db.repos.events import EventRepo
from core.db.repos.job_queue import JobQueueRepo, has_ready_dataset, select_next
from core.db.repos.metric_summaries import MetricSummaryRepo
from core.db.repos.placement import WorkerCapacity, is_schedulable_on, needs_at_most
from core.db.repos.transitions import apply_transition, lock_job_for_attempt, record_transition
from core.db.tables import JobRow
from core.errors import LostLease
from core.events import EventType
from core.failures import build_failure
from core.job_log import describe_lost_attempt
from core.jobs import ACTIVE, MILESTONE, JobState, StopRequest

MAX_ATTEMPTS = 5


class _Release(NamedTuple):
    """What becomes of a job at the end of an attempt that did not complete it."""

    state: JobState
    changes: Mapping[str, Any]


_REQUEUE = _Release(JobState.QUEUED, {})  # a finish request is not cleared: the next attempt handles it
_RELEASES = {
    JobState.CANCELLING: _Release(JobState.CANCELLED, {"stop_request": None, "stop_reason": "user_cancelled"}),
    JobState.PAUSING: _Release(JobState.PAUSED, {"stop_request": None, "stop_reason": "user_paused"}),
}


class EpochMetrics(NamedTuple):
    """The metrics of a complete epoch, and the number and the metrics of the best epoch, if it is kept."""

    metrics: dict[str, Any]
    best: dict[str, Any] | None


class AttemptRepo:
    """Queries that workers use for their attempts, and queries of the maintenance loop.

    Methods with a `token` change nothing and raise LostLease if a different attempt holds the lease of the job, or if
    the job has ended.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def claim(
        self,
        job_id: str,
        owner: str,
        lease_s: float,
        max_attempts: int = MAX_ATTEMPTS,
        capacity: WorkerCapacity | None = None,
    ) -> JobRow | None:
        """Claim a job for a new attempt. Return None if the job cannot be claimed.

        The job must be queued, or its lease must have expired. Its spec must be resolved and its dataset, if any, must
        be ready. If `capacity` is set, jobs that require more resources are not claimed.
        """
        self.release_expired_lease(job_id, max_attempts)
        is_claimable = and_(JobRow.id == job_id, JobRow.is_resolved, has_ready_dataset())
        if capacity is not None:
            is_claimable &= is_schedulable_on(capacity)
        return self._claim(owner, lease_s, is_claimable)

    def claim_next(
        self, owner: str, lease_s: float, capacity: WorkerCapacity | None = None, max_slots: int = 1
    ) -> JobRow | None:
        """Claim the job that a worker with this capacity runs next. Return None if there is none.

        Jobs that other workers claim at the same time are skipped on PostgreSQL, so that workers do not wait for each
        other. Nothing is claimed if the next job uses more than `max_slots` slots: later jobs must not overtake it.
        """
        # A next job that is too large is not even locked. Others would skip it, and it could be overtaken forever.
        if not JobQueueRepo(self._session).has_next(capacity, max_slots):
            return None
        candidate = select_next(capacity).with_for_update(of=JobRow, skip_locked=True).scalar_subquery()
        return self._claim(owner, lease_s, JobRow.id == candidate, needs_at_most(max_slots))

    def _claim(self, owner: str, lease_s: float, *conditions: ColumnElement[bool]) -> JobRow | None:
        """Claim the job that is queued and fulfills the conditions, with one statement."""
        statement = update(JobRow).where(JobRow.state == JobState.QUEUED, *conditions)
        claimed = self._session.scalars(
            statement.values(
                state=JobState.RUNNING,
                attempt=JobRow.attempt + 1,
                token=JobRow.token + 1,
                owner=owner,
                lease_until=now(self._session, lease_s),  # set here, because active jobs always have a lease
                started_at=func.coalesce(JobRow.started_at, now(self._session)),
            )
            .returning(JobRow.id)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if claimed is None:
            return None
        record_transition(self._session, claimed, JobState.QUEUED, JobState.RUNNING, "claimed")
        query = select(JobRow).where(JobRow.id == claimed).options(undefer(JobRow.spec))
        return self._session.scalars(query.execution_options(populate_existing=True)).one()

    def renew_lease(self, job_id: str, token: int, lease_s: float) -> StopRequest | None:
        """Renew the lease of the job. Return the stop request of the job, or None."""
        statement = update(JobRow).where(JobRow.id == job_id, JobRow.token == token, JobRow.state.in_(ACTIVE))
        row = self._session.execute(
            statement.values(lease_until=now(self._session, lease_s))
            .returning(JobRow.stop_request)
            .execution_options(synchronize_session=False)
        ).one_or_none()
        if row is None:
            raise LostLease(f"Token {token} does not hold the lease of job {job_id}.")
        return row[0]

    def get_stop_request(self, job_id: str, token: int) -> StopRequest | None:
        """Return the stop request of the job, or None. The lease is not renewed."""
        query = select(JobRow.stop_request).where(JobRow.id == job_id, JobRow.token == token)
        row = self._session.execute(query.where(JobRow.state.in_(ACTIVE))).one_or_none()
        if row is None:
            raise LostLease(f"Token {token} does not hold the lease of job {job_id}.")
        return row[0]

    def check_lease(self, job_id: str, token: int) -> JobRow:
        """Lock the job until the commit and return it. No other attempt can write in the meantime."""
        return lock_job_for_attempt(self._session, job_id, token)

    def set_runtime(self, job_id: str, token: int, runtime: dict[str, Any]) -> None:
        """Store the runtime environment of the attempt, such as device, precision and package versions."""
        lock_job_for_attempt(self._session, job_id, token)
        self._update_job(job_id, runtime=runtime)

    def record_progress(
        self,
        job_id: str,
        token: int,
        progress: dict[str, Any],
        running_metrics: dict[str, Any] | None = None,
        epoch: EpochMetrics | None = None,
        entries: Sequence[tuple[EventType, dict[str, Any]]] = (),
    ) -> None:
        """Store the progress, events and, if an epoch has ended, its metrics. Lock the job until the commit.

        `running_metrics` are the metrics of the current epoch so far. They are stored only before the first epoch is
        complete, because the job's metrics are those of the last complete epoch. Jobs without validation samples have
        no validation metrics.
        """
        changes: dict[str, Any] = {"progress": progress}
        if epoch is not None:
            metrics = lock_job_for_attempt(self._session, job_id, token).metrics
            changes |= {"metrics": {**metrics, **epoch.metrics}, "metrics_best": epoch.best}
        elif running_metrics and progress.get("epoch", 1) <= 1:
            metrics = lock_job_for_attempt(self._session, job_id, token).metrics
            if not any(name.startswith("valid_") for name in metrics):
                changes["metrics"] = {**metrics, **running_metrics}
        EventRepo(self._session).append(job_id, entries, changes, token)  # the fence

    def add_warning(self, job_id: str, token: int, text: str) -> None:
        """Add a warning to the job."""
        job = lock_job_for_attempt(self._session, job_id, token)
        if text not in job.warnings:  # later attempts report the same warning; store it once
            self._update_job(job_id, warnings=[*job.warnings, text])

    def complete_with_model(
        self,
        job_id: str,
        token: int,
        model_version: int | None,
        metrics: dict[str, Any],
        stop_reason: str | None,
        best: dict[str, Any] | None = None,
        result: dict[str, Any] | None = None,
    ) -> JobRow:
        """Mark the job as succeeded, with the number of the model version that it registered; None: it registers none.

        `best`: the epoch of the trained weights with its metrics, if it is not the last one. The job's own metrics
        are then still those of the last epoch. `result`: the comparison with the training that the job repeats.
        """
        job = lock_job_for_attempt(self._session, job_id, token)
        measured = {"metrics": {**job.metrics, **metrics}} if best is None else {"metrics_best": best}
        values = {"model_version": model_version, "stop_reason": stop_reason, **measured}
        values |= {} if result is None else {"result": result}
        apply_transition(self._session, job, JobState.SUCCEEDED, stop_reason or "finished", stop_request=None, **values)
        evaluated, epoch = (metrics, None) if best is None else (best["metrics"], best["epoch"])
        MetricSummaryRepo(self._session).record_result(job_id, evaluated, epoch, only_new=best is not None)
        return job

    def complete_with_result(self, job_id: str, token: int, result: dict[str, Any], metrics: dict[str, Any]) -> JobRow:
        """Mark a job that registers no model as succeeded, and store its result."""
        job = lock_job_for_attempt(self._session, job_id, token)
        values: dict[str, Any] = {"result": result, "metrics": {**job.metrics, **metrics}}
        apply_transition(self._session, job, JobState.SUCCEEDED, "finished", stop_request=None, **values)
        MetricSummaryRepo(self._session).record_result(job_id, metrics, None)
        return job

    def fail(self, job_id: str, token: int, failure: dict[str, Any]) -> JobRow:
        """Mark the job as failed. `failure` is an object that `build_failure` returns."""
        job = lock_job_for_attempt(self._session, job_id, token)
        values = {"failure": failure, "stop_request": None, "stop_reason": None}
        apply_transition(self._session, job, JobState.FAILED, failure["code"], **values)
        return job

    def release(self, job_id: str, token: int, reason: str) -> JobRow:
        """End the attempt after a stop request or a worker shutdown. Do not count it against the retry limit.

        A job with a cancel or pause request becomes cancelled or paused. Any other job is queued again.
        """
        job = lock_job_for_attempt(self._session, job_id, token)
        self._release_job(job, reason, num_lost=0)
        return job

    def pause_at_milestone(self, job_id: str, token: int, epoch: int) -> JobRow:
        """End the attempt after a milestone: mark the job as paused. The next attempt continues to the next milestone.

        If a client has requested that the job is cancelled, paused or finished, call `release` instead.
        """
        job = lock_job_for_attempt(self._session, job_id, token)
        values: dict[str, Any] = {"stop_reason": MILESTONE, "milestone_epoch": epoch}
        apply_transition(self._session, job, JobState.PAUSED, MILESTONE, **values)
        return job

    def requeue_or_fail(
        self, job_id: str, token: int, failure: dict[str, Any], max_attempts: int = MAX_ATTEMPTS, detail: str = ""
    ) -> JobRow:
        """End a lost attempt. Queue the job again, or mark it as failed if the retry limit is reached.

        `detail`: a sentence for the job's log on how the attempt ended. Default: the message of the failure.
        """
        job = lock_job_for_attempt(self._session, job_id, token)
        self._requeue_or_fail_job(job, failure, max_attempts, detail)
        return job

    def find_expired_ids(self, limit: int = 100) -> list[str]:
        """Return the ids of jobs whose lease has expired."""
        is_expired = (JobRow.lease_until.is_(None)) | (JobRow.lease_until < now(self._session))
        return list(self._session.scalars(select(JobRow.id).where(JobRow.state.in_(ACTIVE), is_expired).limit(limit)))

    def release_expired_lease(self, job_id: str, max_attempts: int = MAX_ATTEMPTS) -> JobRow | None:
        """End the attempt of a job if its lease has expired, and return the job. Otherwise return None."""
        is_expired = (JobRow.lease_until.is_(None)) | (JobRow.lease_until < now(self._session))
        query = select(JobRow).where(JobRow.id == job_id, JobRow.state.in_(ACTIVE), is_expired).with_for_update()
        job = self._session.scalars(query.execution_options(populate_existing=True)).one_or_none()
        if job is not None:
            self._requeue_or_fail_job(job, build_failure("worker_lost"), max_attempts)
        return job

    def _requeue_or_fail_job(self, job: JobRow, failure: dict[str, Any], max_attempts: int, detail: str = "") -> None:
        is_over_limit = job.state is JobState.RUNNING and job.lost_attempts + 1 >= max_attempts
        target = JobState.FAILED if is_over_limit else _RELEASES.get(job.state, _REQUEUE).state
        line = describe_lost_attempt(failure, job.attempt, target, detail)
        EventRepo(self._session).append(job.id, [(EventType.LOG, line)])
        if is_over_limit:
            final_failure = {**failure, "attempts": job.attempt}
            lost_attempts = job.lost_attempts + 1
            apply_transition(
                self._session, job, JobState.FAILED, failure["code"], failure=final_failure, lost_attempts=lost_attempts
            )
        else:
            self._release_job(job, failure["code"], num_lost=1)

    def _release_job(self, job: JobRow, reason: str, num_lost: int) -> None:
        release = _RELEASES.get(job.state, _REQUEUE)
        values = {"lost_attempts": job.lost_attempts + num_lost, **release.changes}
        if job.stop_reason is not None and "stop_reason" in values:  # the job was stopped by its sweep
            values["stop_reason"] = job.stop_reason
        apply_transition(self._session, job, release.state, reason, **values)

    def _update_job(self, job_id: str, **values: object) -> None:
        change = update(JobRow).where(JobRow.id == job_id).values(**values)
        self._session.execute(change.execution_options(synchronize_session=False))
