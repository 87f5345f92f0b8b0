"""Queries for jobs, and for the changes that clients request. `attempts.py` has the queries for attempts."""

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, tuple_, update
from sqlalchemy.orm import Session, undefer

from core.db.clock import now
from core.db.registry_tables import JobBundleRow, JobTagRow
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.job_queue import is_queued
from core.db.repos.spec_columns import build_spec_columns
from core.db.repos.transitions import apply_transition, build_transition_conflict, get_job_for_update, record_transition
from core.db.tables import ArtifactRow, CheckpointRow, JobRow, ModelVariantRow
from core.errors import Conflict, NotFound, ResourceInUse
from core.jobs import ACTIVE, EPOCH_KINDS, EXTENDED, RETRIED, TERMINAL, UNFINISHED, USER, JobState, StopRequest

_CLEARED: dict[str, Any] = {
    "stop_request": None,
    "stop_reason": None,
    "finished_at": None,
    "duration_s": None,
    "lost_attempts": 0,
    "has_expired_events": False,  # the new events and points expire too
    "has_deleted_points": False,
}
"""The columns of a job that has ended, as they are when it is queued again."""


class JobRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job: JobRow) -> JobRow:
        """Store a new job in state `queued`. The caller adds a message to the outbox in the same transaction."""
        job.id = job.id or uuid.uuid4().hex
        job.created_at = now(self._session)
        job.state = JobState.QUEUED
        job.queued_at = job.created_at
        for name, value in build_spec_columns(job.spec).items():
            setattr(job, name, value)
        job.warnings, job.progress, job.metrics = job.warnings or [], job.progress or {}, job.metrics or {}
        self._session.add(job)
        self._session.flush()
        record_transition(self._session, job.id, None, JobState.QUEUED, "submitted")
        self._session.refresh(job)
        return job

    def find(self, job_id: str, *, with_spec: bool = True) -> JobRow | None:
        query = select(JobRow).where(JobRow.id == job_id).execution_options(populate_existing=True)
        return self._session.scalars(
            query.options(undefer(JobRow.spec), undefer(JobRow.result)) if with_spec else query
        ).one_or_none()

    def get(self, job_id: str, *, with_spec: bool = True) -> JobRow:
        job = self.find(job_id, with_spec=with_spec)
        if job is None:
            raise NotFound(f"Job {job_id!r} does not exist.")
        return job

    def list_by_ids(self, ids: Collection[str], *, with_spec: bool = True) -> list[JobRow]:
        """List jobs, in any order. Ids of jobs that do not exist are skipped."""
        query = select(JobRow).where(JobRow.id.in_(ids))
        return list(self._session.scalars(query.options(undefer(JobRow.spec)) if with_spec else query))

    def count_by_state(self) -> dict[JobState, int]:
        """Count the jobs in each state. States without jobs are omitted."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        return {row[0]: row[1] for row in self._session.execute(query)}

    def get_queue_position(self, job: JobRow) -> int | None:
        """Return the number of queued jobs before this job, or None if this job is not queued."""
        if job.state is not JobState.QUEUED:
            return None
        query = select(func.count()).select_from(JobRow).where(is_queued(), _is_before(job))
        return self._session.scalars(query).one()

    def get_active_ids_by_worker(self) -> dict[str, list[str]]:
        """Return the ids of the active jobs of each worker: {worker id: job ids}."""
        ids_by_worker: dict[str, list[str]] = {}
        query = select(JobRow.owner, JobRow.id).where(JobRow.state.in_(ACTIVE)).order_by(JobRow.id)
        for owner, job_id in self._session.execute(query):
            ids_by_worker.setdefault(owner or "", []).append(job_id)
        return ids_by_worker

    def lock_for_resolution(self, job_id: str) -> JobRow | None:
        """Lock the job until the commit and return it. Return None if it is already resolved or no longer queued."""
        job = get_job_for_update(self._session, job_id)
        return None if job.is_resolved or job.state is not JobState.QUEUED else self.get(job_id)

    def resolve(self, job_id: str, spec: dict[str, Any], warnings: list[str], progress: dict[str, Any]) -> None:
        """Store the resolved spec, so that the job can be claimed. The caller adds a message to the outbox."""
        values = {"spec": spec, "warnings": warnings, "progress": progress, "is_resolved": True}
        values |= {"queued_at": now(self._session), **build_spec_columns(spec)}
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(values))

    def fail_resolution(self, job_id: str, failure: dict[str, Any]) -> None:
        """Mark a job as failed because its spec is not valid for its dataset."""
        apply_transition(
            self._session,
            get_job_for_update(self._session, job_id),
            JobState.FAILED,
            str(failure["code"]),
            failure=failure,
        )

    def list_dependents(self, dataset_version_id: str, limit: int = 20) -> list[JobRow]:
        """List the jobs that use a dataset version, newest first."""
        query = select(JobRow).where(JobRow.dataset_version_id == dataset_version_id)
        return list(self._session.scalars(query.order_by(JobRow.created_at.desc()).limit(limit)))

    def list_waiting_ids(self, dataset_version_id: str) -> list[str]:
        """List the ids of queued jobs that use a dataset version, oldest first."""
        query = select(JobRow.id).where(JobRow.dataset_version_id == dataset_version_id)
        query = query.where(JobRow.state == JobState.QUEUED)
        return list(self._session.scalars(query.order_by(JobRow.created_at, JobRow.id)))

    def fail_waiting_jobs(self, dataset_version_id: str, failure: dict[str, Any]) -> list[str]:
        """Mark all queued jobs of a dataset version as failed, because its import failed. Return their ids."""
        ids = self.list_waiting_ids(dataset_version_id)
        for job_id in ids:
            job = get_job_for_update(self._session, job_id)
            if job.state is JobState.QUEUED:
                apply_transition(
                    self._session, job, JobState.FAILED, str(failure.get("code", "dataset_failed")), failure=failure
                )
        return ids

    def set_priority(self, job_id: str, priority: int) -> JobRow:
        """Set the priority of a job. The new priority of a running job applies if the job is queued again.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has ended.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state in TERMINAL:
            raise build_transition_conflict(job, "cannot change its priority")
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(priority=priority))
        self._session.refresh(job)
        return job

    def annotate(self, job_id: str, **texts: Any) -> JobRow:  # noqa: ANN401 - column values
        """Set the `tags` or the `note` of a job in any state. Tags are a list without duplicates. Raises NotFound."""
        job = get_job_for_update(self._session, job_id)
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(**texts))
        if "tags" in texts:
            self._session.execute(delete(JobTagRow).where(JobTagRow.job_id == job_id))
            self._session.add_all(
                [JobTagRow(job_id=job_id, tag=tag, created_at=job.created_at) for tag in texts["tags"]]
            )
            self._session.flush()
        self._session.refresh(job)
        return job

    def kill(self, job_id: str) -> JobRow:
        """Cancel a job at once. A running attempt loses its lease, and stops at its next heartbeat.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has succeeded or failed.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.CANCELLED:
            values = {"stop_request": None, "stop_reason": "user_cancelled"}
            apply_transition(self._session, job, JobState.CANCELLED, "killed", **values)
        return job

    def request_stop(self, job_id: str, stop_request: StopRequest, *, origin: str = USER) -> JobRow:
        """Request that a job is cancelled, paused or finished. Repeating the request has no effect.

        `origin`: the beginning of the job's `stop_reason`, `USER` or `SWEEP`.

        Raises:
            NotFound: the job does not exist.
            Conflict: the state of the job does not allow the request.
        """
        job = get_job_for_update(self._session, job_id)
        match stop_request:
            case StopRequest.CANCEL:
                self._apply_stop_request(job, stop_request, JobState.CANCELLING, JobState.CANCELLED, origin)
            case StopRequest.PAUSE:
                self._apply_stop_request(job, stop_request, JobState.PAUSING, JobState.PAUSED, origin)
            case StopRequest.FINISH:
                self._request_finish(job)
        return job

    def resume(self, job_id: str) -> JobRow:
        """Queue a paused job again. Raise Conflict for any other job. The caller adds a message to the outbox."""
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.PAUSED:
            raise build_transition_conflict(job, "cannot be resumed")
        apply_transition(self._session, job, JobState.QUEUED, "resumed", stop_request=None, stop_reason=None)
        return job

    def retry(self, job_id: str) -> JobRow:
        """Queue a failed job again. It continues from its newest checkpoint. The caller adds a message to the outbox.

        Raises:
            Conflict: the job has not failed.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.FAILED:
            raise build_transition_conflict(job, "cannot be retried")
        apply_transition(self._session, job, JobState.QUEUED, RETRIED, failure=None, **_CLEARED)
        return job

    def extend(self, job_id: str, spec: dict[str, Any], **values: Any) -> JobRow:  # noqa: ANN401 - column values
        """Queue a succeeded job again with a longer spec and other column values. The caller adds an outbox message."""
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.SUCCEEDED:
            raise build_transition_conflict(job, "cannot be extended")
        values |= {"spec": spec, **build_spec_columns(spec)}
        apply_transition(self._session, job, JobState.QUEUED, EXTENDED, **_CLEARED, **values)
        return job

    def delete(self, job_id: str) -> list[str]:
        """Delete a job that has ended, with its events and curves. Its models and variants remain.

        Returns:
            The storage keys that are no longer used. The caller deletes their files after the commit.

        Raises:
            Conflict: the job has not ended.
            ResourceInUse: other jobs, or the trials of a sweep, will start from checkpoints of this job.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state not in TERMINAL:
            raise Conflict(f"A job that is {job.state} cannot be deleted.", state=job.state, allowed=sorted(TERMINAL))
        self._refuse_dependents(job_id)
        keys = list(self._session.scalars(select(CheckpointRow.key).where(CheckpointRow.job_id == job_id)))
        for table in (ArtifactRow, JobBundleRow):
            keys += self._session.scalars(select(table.key).where(table.job_id == job_id))
        if has_stored_result(job) and not self._has_variant(get_result_key(job)):
            keys.append(get_result_key(job))
        self._session.delete(job)
        self._session.flush()
        return keys

    def list_required_uploads(self) -> set[str]:
        """Return the ids of the uploaded archives that jobs require which have not ended."""
        query = select(JobRow.spec["archive"].as_string()).where(JobRow.kind == "predict_archive")
        return set(self._session.scalars(query.where(JobRow.state.in_(UNFINISHED))))

    def _refuse_dependents(self, job_id: str) -> None:
        checkpoints = CheckpointRepo(self._session)
        if dependents := checkpoints.find_dependents(job_id):
            detail = "Other jobs require checkpoints of this job. Cancel them or wait until they have checkpoints."
            raise ResourceInUse(detail, dependents=sorted(dependents), kind="job")
        if sweeps := checkpoints.find_dependent_sweeps(job_id):
            detail = "The trials of sweeps require checkpoints of this job. Cancel the sweeps or wait for their end."
            raise ResourceInUse(detail, dependents=sorted(sweeps), kind="sweep")

    def _has_variant(self, key: str) -> bool:
        return self._session.scalars(select(ModelVariantRow.name).where(ModelVariantRow.key == key)).first() is not None

    def _apply_stop_request(
        self, job: JobRow, stop_request: StopRequest, pending_state: JobState, stopped_state: JobState, origin: str
    ) -> None:
        if job.state in (pending_state, stopped_state):
            return
        if job.state in (JobState.QUEUED, JobState.PAUSED):
            apply_transition(
                self._session,
                job,
                stopped_state,
                f"{stop_request} requested",
                stop_request=None,
                stop_reason=f"{origin}_{stopped_state}",
            )
        else:
            reason = None if origin == USER else f"{origin}_{stopped_state}"  # None: as without a sweep
            values = {"stop_request": stop_request, "stop_reason": reason}
            apply_transition(self._session, job, pending_state, f"{stop_request} requested", **values)

    def _request_finish(self, job: JobRow) -> None:
        if job.state is not JobState.RUNNING:
            raise build_transition_conflict(job, "cannot be finished early")
        self._session.execute(update(JobRow).where(JobRow.id == job.id).values(stop_request=StopRequest.FINISH))
        self._session.refresh(job)


def get_result_key(job: JobRow) -> str:
    """Return the storage key of the result files of a job."""
    return f"jobs/{job.id}/t{job.token}/answer"


def has_stored_result(job: JobRow) -> bool:
    """Return whether the job can have stored result files."""
    return job.kind not in EPOCH_KINDS and job.state is JobState.SUCCEEDED


def _is_before(job: JobRow) -> ColumnElement[bool]:
    same = (JobRow.priority == job.priority) & (tuple_(JobRow.created_at, JobRow.id) < (job.created_at, job.id))
    return (JobRow.priority > job.priority) | same
