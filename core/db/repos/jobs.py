"""Jobs as clients see and steer them; what an attempt does is in `attempts.py`."""

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import ColumnElement, func, select, tuple_, update
from sqlalchemy.orm import Session, undefer

from core.db import cursor as cursors
from core.db.clock import now
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.placement import WorkerCapacity, get_num_devices, is_schedulable_on, requires_gpu
from core.db.repos.transitions import apply_transition, build_transition_conflict, get_job_for_update, record_transition
from core.db.tables import ArtifactRow, CheckpointRow, DatasetVersionRow, JobRow, ModelVariantRow
from core.errors import Conflict, NotFound, ResourceInUse
from core.jobs import ACTIVE, TERMINAL, DatasetState, JobState, StopRequest


class JobRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, job: JobRow) -> JobRow:
        """Store a new job as queued. The caller leaves a message in the outbox in the same transaction."""
        job.id = job.id or uuid.uuid4().hex
        job.created_at = now(self._session)
        job.state = JobState.QUEUED
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
            raise NotFound(f"There is no job {job_id!r}.")
        return job

    def list_page(
        self,
        *,
        state: JobState | None = None,
        name: str | None = None,
        kind: str | None = None,
        cursor: str | None = None,
        limit: int = 50,
    ) -> tuple[list[JobRow], str | None]:
        """Jobs, newest first and without their specs, and the cursor of the next page.

        Raises:
            InvalidSpec: the cursor is not one of ours.
        """
        query = select(JobRow)
        for column, value in ((JobRow.state, state), (JobRow.name, name), (JobRow.kind, kind)):
            if value is not None:
                query = query.where(column == value)
        if cursor is not None:
            query = query.where(tuple_(JobRow.created_at, JobRow.id) < cursors.decode(cursor))
        query = query.order_by(JobRow.created_at.desc(), JobRow.id.desc()).limit(limit + 1)
        rows = list(self._session.scalars(query))
        more = len(rows) > limit
        rows = rows[:limit]
        return rows, cursors.encode(rows[-1].created_at, rows[-1].id) if more else None

    def count_by_state(self) -> dict[JobState, int]:
        """How many jobs there are in every state; states without a job are left out."""
        query = select(JobRow.state, func.count()).group_by(JobRow.state)
        return {row[0]: row[1] for row in self._session.execute(query)}

    def get_queue_position(self, job: JobRow) -> int | None:
        """How many queued jobs are taken before this one; None unless it is queued."""
        if job.state is not JobState.QUEUED:
            return None
        query = select(func.count()).select_from(JobRow).where(JobRow.state == JobState.QUEUED, _is_before(job))
        return self._session.scalars(query).one()

    def find_next_id(self, capacity: WorkerCapacity | None = None) -> str | None:
        """The id of the queued job that is to be taken next: highest priority, then oldest, its dataset ready.

        Args:
            offer: of the worker that is to take it; unless given, of one that has all.
        """
        query = select(JobRow.id).join(DatasetVersionRow).where(JobRow.state == JobState.QUEUED)
        query = query.where(DatasetVersionRow.state == DatasetState.READY, JobRow.is_resolved)
        if capacity is not None:
            query = query.where(is_schedulable_on(capacity))
        order = (JobRow.priority.desc(), JobRow.created_at, JobRow.id)
        return self._session.scalars(query.order_by(*order).limit(1)).one_or_none()

    def filter_gpu_ids(self, ids: Collection[str]) -> set[str]:
        """Those of the jobs that only a worker with a GPU can take."""
        return set(self._session.scalars(select(JobRow.id).where(JobRow.id.in_(ids), requires_gpu())))

    def get_num_slots(self, job_id: str) -> int:
        """How many of its worker's slots the job takes; 1 of one that is gone."""
        job = self.find(job_id)
        return 1 if job is None else get_num_devices(job.spec)

    def get_active_ids_by_worker(self) -> dict[str, list[str]]:
        """Ids of the jobs at work, by their worker."""
        ids_by_worker: dict[str, list[str]] = {}
        query = select(JobRow.owner, JobRow.id).where(JobRow.state.in_(ACTIVE)).order_by(JobRow.id)
        for owner, job_id in self._session.execute(query):
            ids_by_worker.setdefault(owner or "", []).append(job_id)
        return ids_by_worker

    def find_resolvable_ids(self, limit: int = 20) -> list[str]:
        """Ids of queued jobs that waited for a dataset which is ready now, oldest first."""
        query = select(JobRow.id).join(DatasetVersionRow).where(JobRow.state == JobState.QUEUED)
        query = query.where(JobRow.is_resolved.is_(False), DatasetVersionRow.state == DatasetState.READY)
        return list(self._session.scalars(query.order_by(JobRow.created_at).limit(limit)))

    def lock_for_resolution(self, job_id: str) -> JobRow | None:
        """The job, locked until the commit, if it is still to be resolved."""
        job = get_job_for_update(self._session, job_id)
        return None if job.is_resolved or job.state is not JobState.QUEUED else self.get(job_id)

    def resolve(self, job_id: str, spec: dict[str, Any], warnings: list[str]) -> None:
        """The job can be taken, with this spec. The caller leaves a message in the outbox."""
        values = {"spec": spec, "warnings": warnings, "is_resolved": True}
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(values))

    def fail_resolution(self, job_id: str, failure: dict[str, Any]) -> None:
        """The job cannot be built, as turned out when its dataset was there."""
        apply_transition(
            self._session,
            get_job_for_update(self._session, job_id),
            JobState.FAILED,
            str(failure["code"]),
            failure=failure,
        )

    def list_dependents(self, dataset_version_id: str, limit: int = 20) -> list[JobRow]:
        """Jobs that use that version of a dataset, newest first: it cannot go before them."""
        query = select(JobRow).where(JobRow.dataset_version_id == dataset_version_id)
        return list(self._session.scalars(query.order_by(JobRow.created_at.desc()).limit(limit)))

    def list_waiting_ids(self, dataset_version_id: str) -> list[str]:
        """Ids of queued jobs that wait for that version of a dataset, oldest first."""
        query = select(JobRow.id).where(JobRow.dataset_version_id == dataset_version_id)
        query = query.where(JobRow.state == JobState.QUEUED)
        return list(self._session.scalars(query.order_by(JobRow.created_at)))

    def fail_waiting_jobs(self, dataset_version_id: str, failure: dict[str, Any]) -> list[str]:
        """Fail all queued jobs that wait for a version of a dataset that failed; their ids."""
        ids = self.list_waiting_ids(dataset_version_id)
        for job_id in ids:
            job = get_job_for_update(self._session, job_id)
            if job.state is JobState.QUEUED:
                apply_transition(
                    self._session, job, JobState.FAILED, str(failure.get("code", "dataset_failed")), failure=failure
                )
        return ids

    def set_priority(self, job_id: str, priority: int) -> JobRow:
        """A higher priority is taken first; one that runs keeps it for the case that it is queued again.

        Raises:
            NotFound: no such job.
            Conflict: it is finished.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state in TERMINAL:
            raise build_transition_conflict(job, "has no place in the queue")
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(priority=priority))
        self._session.refresh(job)
        return job

    def kill(self, job_id: str) -> JobRow:
        """Cancel a job at once: whoever is at it is fenced off, and finds out at its next beat.

        Raises:
            NotFound: no such job.
            Conflict: it ended in another way.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.CANCELLED:
            values = {"stop_request": None, "stop_reason": "user_cancelled"}
            apply_transition(self._session, job, JobState.CANCELLED, "killed", **values)
        return job

    def request_stop(self, job_id: str, stop_request: StopRequest) -> JobRow:
        """A client's cancel, pause or finish. Asking again changes nothing.

        Raises:
            NotFound: no such job.
            Conflict: the job is not in a state that allows it.
        """
        job = get_job_for_update(self._session, job_id)
        match stop_request:
            case StopRequest.CANCEL:
                self._apply_stop_request(job, stop_request, JobState.CANCELLING, JobState.CANCELLED)
            case StopRequest.PAUSE:
                self._apply_stop_request(job, stop_request, JobState.PAUSING, JobState.PAUSED)
            case StopRequest.FINISH:
                self._request_finish(job)
        return job

    def resume(self, job_id: str) -> JobRow:
        """Put a paused job back into the queue. The caller leaves a message in the outbox."""
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.PAUSED:
            raise build_transition_conflict(job, "cannot be resumed")
        apply_transition(self._session, job, JobState.QUEUED, "resumed", stop_request=None)
        return job

    def extend(self, job_id: str, spec: dict[str, Any]) -> JobRow:
        """Let a succeeded job go on with a spec of more epochs. The caller leaves a message in the outbox."""
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.SUCCEEDED:
            raise build_transition_conflict(job, "cannot be extended")
        cleared = {"stop_request": None, "stop_reason": None, "finished_at": None, "lost_attempts": 0}
        apply_transition(self._session, job, JobState.QUEUED, "extended", spec=spec, **cleared)
        return job

    def delete(self, job_id: str) -> list[str]:
        """Delete a finished job with all it told; its models and variants stay.

        Returns:
            Keys in the store that nothing refers to any more, to be deleted after the commit.

        Raises:
            Conflict: it is not finished.
            InUse: another job is about to begin with one of its checkpoints.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state not in TERMINAL:
            raise Conflict(f"A job that is {job.state} cannot be deleted.", state=job.state, allowed=sorted(TERMINAL))
        if dependents := CheckpointRepo(self._session).find_dependents(job_id):
            raise ResourceInUse(
                "Jobs are about to begin with its checkpoints: cancel them first, or wait until they have their own.",
                dependents=sorted(dependents),
                kind="job",
            )
        keys = list(self._session.scalars(select(CheckpointRow.key).where(CheckpointRow.job_id == job_id)))
        keys += self._session.scalars(select(ArtifactRow.key).where(ArtifactRow.job_id == job_id))
        if has_stored_result(job) and not self._has_variant(get_result_key(job)):
            keys.append(get_result_key(job))
        self._session.delete(job)
        self._session.flush()
        return keys

    def is_upload_needed(self, archive: str) -> bool:
        """Whether a job that is not finished is to read that archive."""
        mine = (JobRow.kind == "predict_archive", JobRow.state.not_in(TERMINAL))
        query = select(JobRow.id).where(*mine, JobRow.spec["archive"].as_string() == archive)
        return self._session.scalars(query.limit(1)).first() is not None

    def _has_variant(self, key: str) -> bool:
        return self._session.scalars(select(ModelVariantRow.name).where(ModelVariantRow.key == key)).first() is not None

    def _apply_stop_request(
        self, job: JobRow, stop_request: StopRequest, pending_state: JobState, stopped_state: JobState
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
                stop_reason=f"user_{stopped_state}",
            )
        else:
            apply_transition(self._session, job, pending_state, f"{stop_request} requested", stop_request=stop_request)

    def _request_finish(self, job: JobRow) -> None:
        if job.state is not JobState.RUNNING:
            raise build_transition_conflict(job, "cannot be finished early")
        self._session.execute(update(JobRow).where(JobRow.id == job.id).values(stop_request=StopRequest.FINISH))
        self._session.refresh(job)


def get_result_key(job: JobRow) -> str:
    """Where the store has the files of the result, if there are any."""
    return f"jobs/{job.id}/t{job.token}/answer"


def has_stored_result(job: JobRow) -> bool:
    """Whether the files of the result, if there are any, are of the attempt that succeeded."""
    return job.kind != "train" and job.state is JobState.SUCCEEDED


def _is_before(job: JobRow) -> ColumnElement[bool]:
    same = (JobRow.priority == job.priority) & (tuple_(JobRow.created_at, JobRow.id) < (job.created_at, job.id))
    return (JobRow.priority > job.priority) | same
