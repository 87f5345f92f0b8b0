"""Compares jobs: the differences of their specs, the last and best values of their metrics, and their environments."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.jobs import JobRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.tables import JobRow
from core.environment import select_environment
from core.errors import NotFound
from core.json_differences import SpecDifference, find_differences

MAX_JOBS = 50
MAX_DIFFERENCES = 1000


class JobComparison(NamedTuple):
    """The comparison of jobs.

    Attributes:
        num_differences: the number of all fields that differ; `differences` lists the first `MAX_DIFFERENCES`.
        metrics: {metric: {job id: summary}}.
        environments: {job id: fields of its runtime}.
    """

    jobs: Sequence[JobRow]
    differences: Sequence[SpecDifference]
    num_differences: int
    metrics: Mapping[str, Mapping[str, MetricSummary]]
    environments: Mapping[str, Mapping[str, Any]]


class JobComparisonService:
    """Compares jobs in the caller's read transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def compare_jobs(self, job_ids: Sequence[str]) -> JobComparison:
        """Compare jobs in the order of the request.

        Raises:
            NotFound: a job does not exist.
        """
        rows = {row.id: row for row in JobRepo(self._session).list_by_ids(job_ids)}
        if missing := [job_id for job_id in job_ids if job_id not in rows]:
            raise NotFound(f"Job {missing[0]!r} does not exist.", missing=missing)
        jobs = [rows[job_id] for job_id in dict.fromkeys(job_ids)]
        differences = find_differences({job.id: job.spec for job in jobs})
        metrics: dict[str, dict[str, MetricSummary]] = {}
        for job_id, summaries in MetricSummaryRepo(self._session).list_summaries(list(rows)).items():
            for name, summary in summaries.items():
                metrics.setdefault(name, {})[job_id] = summary
        environments = {job.id: select_environment(job.runtime or {}) for job in jobs}
        return JobComparison(jobs, differences[:MAX_DIFFERENCES], len(differences), metrics, environments)
