"""Queries for retention: what has expired since the end of its job, and nothing refers to."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, func, inspect, select, tuple_, update
from sqlalchemy.orm import Session

from core.db.base import Base
from core.db.clock import now
from core.db.metric_tables import MetricRollupRow
from core.db.registry_tables import JobBundleRow
from core.db.repos.checkpoints import CheckpointRepo, build_is_source
from core.db.repos.jobs import JobRepo
from core.db.repos.transitions import get_job_for_update
from core.db.sweep_tables import SweepRow
from core.db.tables import (
    ArtifactRow,
    CheckpointRow,
    JobEventRow,
    JobRow,
    MetricPointRow,
    ModelVariantRow,
    ModelVersionRow,
)
from core.errors import NotFound, ResourceInUse
from core.events import EventType
from core.jobs import TERMINAL
from core.sweeps.states import OPEN_SWEEP

RETAINED_EVENTS = (EventType.STATE, EventType.END)
"""Events that have no other source. They do not expire."""
_DAY_S = 24 * 3600.0


class ExpiredTotals(NamedTuple):
    """The number of expired items, and the size of their files in bytes."""

    num_expired: int
    expired_bytes: int


class RetentionRepo:
    """Queries for expired checkpoints, artifacts and jobs. Days count from the end of the job.

    Jobs that have not ended, also paused ones, jobs that others start from, and those of open sweeps never expire.
    Every deletion locks the job and checks that it has not been extended meanwhile.
    """

    def __init__(self, session: Session) -> None:
        self._session = session

    def find_checkpoint_jobs(self, days: float, limit: int) -> list[str]:
        """Return the ids of jobs with expired checkpoints."""
        return self._find_jobs(days, limit, exists().where(CheckpointRow.job_id == JobRow.id))

    def find_artifact_jobs(self, days: float, limit: int) -> list[str]:
        """Return the ids of jobs with expired artifacts."""
        return self._find_jobs(days, limit, exists().where(ArtifactRow.job_id == JobRow.id))

    def find_event_jobs(self, days: float, limit: int) -> list[str]:
        """Return the ids of jobs with expired events."""
        return self._find_jobs(days, limit, JobRow.has_expired_events.is_(False))

    def find_point_jobs(self, days: float, limit: int) -> list[str]:
        """Return the ids of jobs with expired points of curves. Those without complete rollups do not expire."""
        return self._find_jobs(days, limit, JobRow.has_deleted_points.is_(False), JobRow.has_rollups.is_(True))

    def find_expired_jobs(self, days: float, limit: int) -> list[str]:
        """Return the ids of expired jobs. Jobs of existing model versions and variants do not expire."""
        return self._find_jobs(days, limit, *_build_unregistered())

    def sum_checkpoints(self, days: float) -> ExpiredTotals:
        """Count the expired checkpoints."""
        return self._sum(CheckpointRow, days)

    def sum_artifacts(self, days: float) -> ExpiredTotals:
        """Count the expired artifacts."""
        return self._sum(ArtifactRow, days)

    def count_event_jobs(self, days: float) -> ExpiredTotals:
        """Count the jobs with expired events."""
        return self._count(days, JobRow.has_expired_events.is_(False))

    def count_point_jobs(self, days: float) -> ExpiredTotals:
        """Count the jobs with expired points of curves."""
        return self._count(days, JobRow.has_deleted_points.is_(False), JobRow.has_rollups.is_(True))

    def sum_jobs(self, days: float) -> ExpiredTotals:
        """Count the expired jobs, and the bytes of their checkpoints, artifacts and unregistered networks."""
        conditions = [*self._build_conditions(days), *_build_unregistered()]
        count = self._session.scalars(select(func.count()).select_from(JobRow).where(*conditions)).one()
        sizes = [
            self._session.scalars(
                select(func.coalesce(func.sum(table.size_bytes), 0)).join(JobRow).where(*conditions)
            ).one()
            for table in (CheckpointRow, ArtifactRow, JobBundleRow)
        ]
        return ExpiredTotals(count, int(sum(sizes)))

    def delete_checkpoints(self, job_id: str, days: float) -> list[str]:
        """Delete the checkpoints of a job, which then cannot be extended. Return their storage keys.

        The caller deletes the files after the commit.
        """
        if not self._lock(job_id, days):
            return []
        return CheckpointRepo(self._session).delete_all(job_id)

    def delete_artifacts(self, job_id: str, days: float) -> list[str]:
        """Delete the artifacts of a job. Return their storage keys; the caller deletes the files after the commit."""
        if not self._lock(job_id, days):
            return []
        keys = list(self._session.scalars(select(ArtifactRow.key).where(ArtifactRow.job_id == job_id)))
        self._session.execute(delete(ArtifactRow).where(ArtifactRow.job_id == job_id))
        return keys

    def delete_job_rows(self, job_id: str, days: float, limit: int) -> int:
        """Delete at most `limit` metric points, rollups or events of a job, and return their number."""
        if not self._lock(job_id, days):
            return 0
        tables: tuple[type[Base], ...] = (MetricPointRow, MetricRollupRow, JobEventRow)
        for table in tables:
            if deleted := self._delete_rows(table, job_id, limit):
                return deleted
        return 0

    def delete_events(self, job_id: str, days: float, limit: int) -> int:
        """Delete at most `limit` events of a job, and return their number. State changes and the last event remain."""
        if not self._lock(job_id, days):
            return 0
        last = select(JobRow.event_seq).where(JobRow.id == job_id).scalar_subquery()
        deleted = self._delete_rows(
            JobEventRow, job_id, limit, JobEventRow.type.not_in(RETAINED_EVENTS), JobEventRow.seq < last
        )
        if deleted < limit:
            self._session.execute(update(JobRow).where(JobRow.id == job_id).values(has_expired_events=True))
        return deleted

    def delete_points(self, job_id: str, days: float, limit: int) -> int:
        """Delete at most `limit` points of the curves of a job, and return their number. The rollups remain."""
        if not self._lock(job_id, days):
            return 0
        # First, so that readers use the rollups while only some of the points are deleted.
        self._session.execute(update(JobRow).where(JobRow.id == job_id).values(has_expired_points=True))
        deleted = self._delete_rows(MetricPointRow, job_id, limit)
        if deleted < limit:
            self._session.execute(update(JobRow).where(JobRow.id == job_id).values(has_deleted_points=True))
        return deleted

    def delete_job(self, job_id: str, days: float) -> list[str]:
        """Delete the row of a job and all that is left of it. Return the storage keys that are no longer used."""
        if not self._lock(job_id, days):
            return []
        try:
            return JobRepo(self._session).delete(job_id)
        except ResourceInUse:  # another job was submitted that starts from its checkpoints
            return []

    def _delete_rows(self, table: type[Base], job_id: str, limit: int, *conditions: ColumnElement[bool]) -> int:
        key = inspect(table).primary_key
        rows = select(*key).where(inspect(table).columns["job_id"] == job_id, *conditions).limit(limit)
        statement = delete(table).where(tuple_(*key).in_(rows)).execution_options(synchronize_session=False)
        deleted: int = self._session.execute(statement).rowcount  # type: ignore[attr-defined]  # of a DELETE
        return deleted

    def _count(self, days: float, *conditions: ColumnElement[bool]) -> ExpiredTotals:
        query = select(func.count()).select_from(JobRow).where(*self._build_conditions(days), *conditions)
        return ExpiredTotals(self._session.scalars(query).one(), 0)

    def _find_jobs(self, days: float, limit: int, *conditions: ColumnElement[bool]) -> list[str]:
        query = select(JobRow.id).where(*self._build_conditions(days), *conditions)
        return list(self._session.scalars(query.order_by(JobRow.finished_at, JobRow.id).limit(limit)))

    def _sum(self, table: type[CheckpointRow | ArtifactRow], days: float) -> ExpiredTotals:
        totals = select(func.count(), func.coalesce(func.sum(table.size_bytes), 0)).select_from(table).join(JobRow)
        count, size = self._session.execute(totals.where(*self._build_conditions(days))).one()
        return ExpiredTotals(count, int(size))

    def _build_conditions(self, days: float) -> list[ColumnElement[bool]]:
        is_in_sweep = exists().where(SweepRow.id == JobRow.sweep_id, SweepRow.state.in_(OPEN_SWEEP))
        has_expired = JobRow.finished_at < now(self._session, -days * _DAY_S)
        return [JobRow.state.in_(TERMINAL), has_expired, ~build_is_source(), ~is_in_sweep]

    def _lock(self, job_id: str, days: float) -> bool:
        """Lock a job. Return False if it was deleted or extended, or if another job starts from its checkpoints."""
        try:
            job = get_job_for_update(self._session, job_id)
        except NotFound:
            return False
        # A job that was extended may have ended again.
        has_expired = JobRow.finished_at < now(self._session, -days * _DAY_S)
        expired = self._session.scalars(select(JobRow.id).where(JobRow.id == job_id, has_expired)).first()
        is_expired = job.state in TERMINAL and expired is not None
        return is_expired and not CheckpointRepo(self._session).has_dependents(job_id)


def _build_unregistered() -> list[ColumnElement[bool]]:
    tables = (ModelVersionRow, ModelVariantRow)
    return [~exists().where(table.job_id == JobRow.id) for table in tables]
