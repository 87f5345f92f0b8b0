"""Compares jobs: the differences of their specs, the last and best values of their metrics, and their environments."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.jobs import JobRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.tables import JobRow
from core.errors import NotFound
from core.spec.error_pointers import build_pointer

MAX_JOBS = 50
MAX_DIFFERENCES = 1000
ENVIRONMENT_FIELDS = (
    "device",
    "device_name",
    "devices",
    "precision",
    "memory_format",
    "threads",
    "processor",
    "torch",
    "python",
    "candela",
    "revision",
    "lock_sha256",
    "num_parameters",
    "worker",
)
"""Fields of `runtime` that can explain different results."""


class SpecDifference(NamedTuple):
    """A field that differs: its JSON pointer, and its value in each job that has it."""

    pointer: str
    values: dict[str, Any]


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


def find_differences(specs: Mapping[str, Any]) -> list[SpecDifference]:
    """Return the fields of JSON documents that differ or that some documents lack, in the order of the first document.

    Items of arrays are compared by their index.
    """
    values: dict[tuple[str | int, ...], dict[str, Any]] = {}
    for job_id, spec in specs.items():
        for path, value in _iterate_leaves(spec, ()):
            values.setdefault(path, {})[job_id] = value
    return [
        SpecDifference(build_pointer(path), by_job)
        for path, by_job in values.items()
        if len(by_job) < len(specs) or not _are_equal(list(by_job.values()))
    ]


def _iterate_leaves(value: Any, path: tuple[str | int, ...]) -> Iterator[tuple[tuple[str | int, ...], Any]]:  # noqa: ANN401
    """Yield the path and the value of every number, string, boolean and null, and of empty objects and arrays."""
    if isinstance(value, dict | list) and value:
        members = value.items() if isinstance(value, dict) else enumerate(value)
        for key, member in members:
            yield from _iterate_leaves(member, (*path, key))
    else:
        yield path, value


def _are_equal(values: Sequence[Any]) -> bool:
    """Return whether all values are equal. In JSON, `true` differs from 1."""
    first = values[0]
    return all(value == first and isinstance(value, bool) == isinstance(first, bool) for value in values)


def select_environment(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job's runtime that can explain different results."""
    return {name: runtime[name] for name in ENVIRONMENT_FIELDS if name in runtime}
