"""Reads curves of jobs on one grid, and compares jobs."""

from collections.abc import Sequence
from typing import Literal

from candela.transport import Transport
from candela.types import CurveGrid, JobDifferences

GridAxis = Literal["step", "epoch", "time"]


def read_metric_grid(
    transport: Transport,
    job_ids: Sequence[str],
    name: str,
    split: str,
    *,
    x: GridAxis = "step",
    buckets: int = 500,
    start: float | None = None,
    end: float | None = None,
) -> CurveGrid:
    """Return one metric of several jobs on one grid. `start` and `end` select a part of the axis."""
    params = {"job": list(job_ids), "name": name, "split": split, "x": x, "buckets": buckets, "from": start, "to": end}
    query = {key: value for key, value in params.items() if value is not None}
    grid: CurveGrid = transport.json("GET", "/v1/metrics", params=query)
    return grid


def compare_jobs(transport: Transport, job_ids: Sequence[str]) -> JobDifferences:
    """Return the fields in which the specs of 2 to 50 jobs differ, their metrics and their environments."""
    comparison: JobDifferences = transport.json("GET", "/v1/jobs/compare", params={"job": list(job_ids)})
    return comparison
