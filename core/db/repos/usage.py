"""Queries for what running jobs use: processor time, memory and images per second."""

from collections import defaultdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.metric_rollup import LEVELS, USAGE_SPLIT
from core.db.metric_tables import MetricRollupRow
from core.db.tables import JobRow
from core.jobs import ACTIVE


class UsageRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def sum_by_worker(self) -> dict[str, dict[str, float]]:
        """Return the sums of the latest samples of the active jobs of each worker: {worker id: {name: sum}}."""
        row = MetricRollupRow
        owners = select(JobRow.id, JobRow.owner).where(JobRow.state.in_(ACTIVE))
        owner_by_job = {job_id: owner or "" for job_id, owner in self._session.execute(owners)}
        query = select(row.job_id, row.name, row.last_value).where(row.job_id.in_(owner_by_job))
        query = query.where(row.level == LEVELS[-1], row.split == USAGE_SPLIT, row.last_value.is_not(None))
        latest = {(job_id, name): value for job_id, name, value in self._session.execute(query.order_by(row.bucket))}
        sums: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
        for (job_id, name), value in latest.items():
            sums[owner_by_job[job_id]][name] += value or 0.0
        return {worker: dict(usage) for worker, usage in sums.items()}
