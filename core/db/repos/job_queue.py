"""Queries for the queue of jobs: the next job, jobs whose message may be lost, and jobs that can be validated.

How many jobs are queued does not matter to these queries, except for jobs before the result that the worker cannot run
or whose dataset is not ready. The partial indexes of `JobRow` make this possible. A database uses them only for
conditions that are written as in the index, with literals.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Select, exists, literal_column, or_, select
from sqlalchemy.orm import Session, aliased

from core.db.clock import now
from core.db.queue_tables import OutboxRow
from core.db.repos.placement import WorkerCapacity, get_num_devices, is_schedulable_on, needs_at_most
from core.db.tables import DatasetVersionRow, JobRow
from core.jobs import DatasetState, JobState

ORDER = (JobRow.priority.desc(), JobRow.created_at, JobRow.id)
"""The order in which queued jobs run."""


class JobQueueRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find_next_id(self, capacity: WorkerCapacity | None = None) -> str | None:
        """Return the id of the queued job to run next: highest priority, then oldest. Return None if there is none.

        Only jobs with a resolved spec and a ready dataset, or without a dataset, are considered.

        Args:
            capacity: the capacity of the worker that will run the job. Default: unlimited.
        """
        return self._session.scalars(select_next(capacity)).one_or_none()

    def has_next(self, capacity: WorkerCapacity | None = None, max_slots: int = 1) -> bool:
        """Return whether there is a queued job to run next, and whether it uses at most `max_slots` slots."""
        is_small = needs_at_most(max_slots)
        return bool(self._session.scalars(select_next(capacity).with_only_columns(is_small)).one_or_none())

    def filter_gpu_ids(self, ids: Collection[str]) -> set[str]:
        """Return the ids of the jobs that require a GPU."""
        return set(self._session.scalars(select(JobRow.id).where(JobRow.id.in_(ids), JobRow.requires_gpu)))

    def get_num_slots(self, job_id: str) -> int:
        """Return the number of worker slots that a job uses, or 1 if the job was deleted."""
        spec = self._session.scalars(select(JobRow.spec).where(JobRow.id == job_id)).one_or_none()
        return 1 if spec is None else get_num_devices(spec)

    def find_ids_without_message(self, older_than_s: float, limit: int = 100, *, gpu: bool | None = None) -> list[str]:
        """Return the ids of queued jobs whose queue message may be lost, in queue order.

        The returned jobs can be claimed, have no message in the outbox, and were queued more than `older_than_s`
        seconds ago. `gpu` selects only jobs that require a GPU (True) or only jobs that do not (False).
        Default: all jobs.
        """
        has_message = exists().where(OutboxRow.topic == "train", OutboxRow.subject_id == JobRow.id)
        # The time is null if a process of an earlier version queued the job.
        is_old = or_(JobRow.queued_at.is_(None), JobRow.queued_at < now(self._session, -older_than_s))
        query = _select_claimable(gpu).where(is_old, ~has_message)
        return list(self._session.scalars(query.order_by(*ORDER).limit(limit)))

    def find_resolvable_ids(self, limit: int = 20) -> list[str]:
        """Return the ids of queued jobs whose spec is not resolved yet and whose dataset is ready.

        The jobs of a dataset are in the order of their creation.
        """
        ids: list[str] = []
        for version_id in self._list_awaited_versions(limit):
            query = select(JobRow.id).where(is_queued(), ~JobRow.is_resolved, JobRow.dataset_version_id == version_id)
            ids += self._session.scalars(query.order_by(JobRow.created_at, JobRow.id).limit(limit - len(ids)))
        return ids

    def _list_awaited_versions(self, limit: int) -> list[str]:
        """List the ready dataset versions of jobs that are not resolved. Many jobs may wait for the same version."""
        # Each step of the recursion jumps to the next version in the index, past all other jobs of the version.
        later = aliased(JobRow)
        first = select(JobRow.dataset_version_id.label("id")).where(is_queued(), ~JobRow.is_resolved)
        first_id = first.order_by(JobRow.dataset_version_id).limit(1).scalar_subquery()
        awaited = select(first_id.label("id")).cte("awaited", recursive=True)
        following = select(later.dataset_version_id).where(is_queued(later), ~later.is_resolved)
        following = following.where(later.dataset_version_id > awaited.c.id)
        next_id = following.order_by(later.dataset_version_id).limit(1).correlate(awaited).scalar_subquery()
        awaited = awaited.union_all(select(next_id).where(awaited.c.id.is_not(None)))
        is_ready = DatasetVersionRow.state == DatasetState.READY
        query = select(DatasetVersionRow.id).join(awaited, DatasetVersionRow.id == awaited.c.id).where(is_ready)
        return list(self._session.scalars(query.limit(limit)))


def is_queued(job: type[JobRow] = JobRow) -> ColumnElement[bool]:
    """Build the condition that a job is queued, as the partial indexes contain it."""
    return job.state == literal_column(f"'{JobState.QUEUED}'")


def has_ready_dataset() -> ColumnElement[bool]:
    """Build the condition that a job reads no dataset, or that its dataset version is ready."""
    version = exists().where(
        DatasetVersionRow.id == JobRow.dataset_version_id, DatasetVersionRow.state == DatasetState.READY
    )
    return or_(JobRow.dataset_version_id.is_(None), version)


def select_next(capacity: WorkerCapacity | None) -> Select[str]:
    """Select the id of the job that a worker with this capacity runs next. None: unlimited."""
    needs_no_gpu = capacity is not None and capacity.num_cuda == 0
    query = _select_claimable(False if needs_no_gpu else None)
    if capacity is not None:
        query = query.where(is_schedulable_on(capacity))
    return query.order_by(*ORDER).limit(1)


def _select_claimable(gpu: bool | None) -> Select[str]:
    """Select the ids of the jobs that can be claimed. `gpu`: whether they require a GPU; None: all."""
    query = select(JobRow.id).where(is_queued(), JobRow.is_resolved, has_ready_dataset())
    return query if gpu is None else query.where(JobRow.requires_gpu if gpu else ~JobRow.requires_gpu)
