"""Reads curves of jobs on one grid, for the charts of a job and for those that compare jobs."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from app.services.validation.report import reject
from core.db.repos.job_lists import JobListRepo
from core.db.repos.metric_grid import MetricGrid, MetricGridRepo
from core.db.repos.metric_grid_queries import CurveName, CurveQuery, GridAxis
from core.errors import NotFound

MAX_JOBS = 200
MAX_CURVES = 64
MAX_SERIES = 400
MAX_BUCKETS = 2000
MAX_CELLS = 100_000
MS_PER_S = 1000


class CurveSelection(NamedTuple):
    """The curves that a client requests. `start` and `end` are steps, epochs or seconds of training."""

    job_ids: Sequence[str]
    curves: Sequence[CurveName]
    axis: GridAxis
    start: float | None
    end: float | None
    max_buckets: int


class MetricCurveService:
    """Reads metric curves. Every method runs in the caller's read transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def read_grid(self, selection: CurveSelection) -> MetricGrid:
        """Return the curves of each job, in the order of the request. Positions on the axis `time` are milliseconds.

        Raises:
            NotFound: a job does not exist.
            InvalidSpec: the range is empty, or there are too many curves, or too many buckets for their number.
        """
        job_ids, curves = list(dict.fromkeys(selection.job_ids)), list(dict.fromkeys(selection.curves))
        num_curves = len(job_ids) * len(curves)
        if num_curves > MAX_SERIES:
            reject("?curve", f"jobs times curves must be at most {MAX_SERIES}; got {num_curves}")
        if num_curves * selection.max_buckets > MAX_CELLS:
            limit = MAX_CELLS // num_curves
            reject("?buckets", f"must be at most {limit} for {num_curves} curves; got {selection.max_buckets}")
        if selection.start is not None and selection.end is not None and selection.start > selection.end:
            reject("?from", f"must be at most the value of `to`, {selection.end:g}; got {selection.start:g}")
        if missing := JobListRepo(self._session).find_missing_ids(job_ids):
            raise NotFound(f"Job {missing[0]!r} does not exist.", missing=missing)
        scale = MS_PER_S if selection.axis is GridAxis.TIME else 1
        query = CurveQuery(
            job_ids,
            curves,
            selection.axis,
            start=None if selection.start is None else math.ceil(selection.start * scale),
            end=None if selection.end is None else math.floor(selection.end * scale),
            max_buckets=selection.max_buckets,
        )
        return MetricGridRepo(self._session).read_grid(query)
