"""Queries that build the rollups of jobs of earlier versions, a part of a curve at a time.

A build is valid only while no attempt of the job runs. Each write therefore locks the row of the job and compares its
fencing token with the token at the start of the build.
"""

from typing import NamedTuple

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core.db.metric_rollup import LEVELS, MetricPoint
from core.db.repos.metric_rollups import POINT_COLUMNS, MetricRollupRepo, build_rollups
from core.db.repos.metric_summaries import MetricSummaryRepo
from core.db.tables import JobRow, MetricPointRow
from core.jobs import ACTIVE

MAX_CHUNK_POINTS = 20_000


class IncompleteJob(NamedTuple):
    """A job whose rollups are not complete, with its fencing token."""

    id: str
    token: int


class CurveChunk(NamedTuple):
    """A part of a curve that consists of whole coarse blocks."""

    points: list[MetricPoint]
    is_last: bool


class MetricBackfillRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_incomplete_jobs(self, limit: int = 20) -> list[IncompleteJob]:
        """List jobs without complete rollups that do not run, newest first."""
        query = select(JobRow.id, JobRow.token).where(JobRow.has_rollups.is_(False), JobRow.state.not_in(ACTIVE))
        return [
            IncompleteJob(*row) for row in self._session.execute(query.order_by(JobRow.created_at.desc()).limit(limit))
        ]

    def list_curves(self, job_id: str) -> list[tuple[str, str]]:
        """List the curves of a job: (split, name)."""
        row = MetricPointRow
        query = select(row.split, row.name).where(row.job_id == job_id).distinct()
        return [(split, name) for split, name in self._session.execute(query)]

    def read_chunk(self, job_id: str, split: str, name: str, after_step: int) -> CurveChunk:
        """Read the next part of a curve, with at most `MAX_CHUNK_POINTS` points."""
        row = MetricPointRow
        query = select(*POINT_COLUMNS).where(row.job_id == job_id, row.split == split, row.name == name)
        query = query.where(row.step > after_step).order_by(row.step).limit(MAX_CHUNK_POINTS + 1)
        points = [MetricPoint(*point) for point in self._session.execute(query)]
        if len(points) <= MAX_CHUNK_POINTS:
            return CurveChunk(points, is_last=True)
        first_incomplete = points[-1].step // LEVELS[-1]
        return CurveChunk([point for point in points if point.step // LEVELS[-1] < first_incomplete], is_last=False)

    def store_chunk(self, job: IncompleteJob, chunk: CurveChunk) -> bool:
        """Store the rollups of a part of a curve. Return False if the job was claimed or deleted meanwhile."""
        if not self._lock_job(job):
            return False
        MetricRollupRepo(self._session).store_rollups(job.id, build_rollups(chunk.points))
        return True

    def finish(self, job: IncompleteJob) -> bool:
        """Mark the rollups of a job as complete, and store its summaries. Return False as in `store_chunk`."""
        if not self._lock_job(job):
            return False
        self._session.execute(update(JobRow).where(JobRow.id == job.id).values(has_rollups=True))
        summaries = MetricSummaryRepo(self._session)
        summaries.record_result(job.id, self._session.get_one(JobRow, job.id).metrics, None)
        summaries.refresh_bests(job.id, self.list_curves(job.id))
        return True

    def _lock_job(self, job: IncompleteJob) -> bool:
        query = select(JobRow.id).where(JobRow.id == job.id, JobRow.token == job.token, JobRow.state.not_in(ACTIVE))
        return self._session.scalars(query.with_for_update()).one_or_none() is not None
