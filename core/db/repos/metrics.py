"""Queries for metric curves: bulk writes, and reads with downsampling."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import insert, literal, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.db.tables import MetricPointRow

_KEY = ("job_id", "split", "name", "step")
_CHUNK = 1000
_PER_BUCKET = 4  # points per bucket: first, last, minimum and maximum


class MetricPoint(NamedTuple):
    """The value of a metric at a step.

    If the value is not finite, `value` is None and `special` is "NaN", "Infinity" or "-Infinity".
    """

    split: str
    name: str
    step: int
    epoch: int
    value: float | None
    special: str | None = None


class MetricSeries(NamedTuple):
    name: str
    split: str
    points: list[MetricPoint]  # ordered by step


class MetricRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def upsert(self, job_id: str, points: Iterable[MetricPoint]) -> None:
        """Insert points. Points that an earlier attempt stored for the same split, metric and step are replaced."""
        rows: dict[tuple[Any, ...], dict[str, Any]] = {}
        for point in points:
            rows[point.split, point.name, point.step] = {"job_id": job_id, **point._asdict()}
        statement = self._build_upsert()
        values = list(rows.values())
        for start in range(0, len(values), _CHUNK):
            self._session.execute(statement, values[start : start + _CHUNK])

    def _build_upsert(self) -> Any:  # noqa: ANN401 - the inserts of the two dialects have no common type
        upserting = postgresql.insert if self._session.get_bind().dialect.name == "postgresql" else sqlite.insert
        new = upserting(MetricPointRow)
        changed = {name: new.excluded[name] for name in ("epoch", "value", "special")}
        return new.on_conflict_do_update(index_elements=_KEY, set_=changed)

    def copy(self, job_id: str, target_job_id: str, *, up_to_step: int) -> None:
        """Copy the curves of a job to another job, up to a step."""
        row = MetricPointRow
        columns = (row.split, row.name, row.step, row.epoch, row.value, row.special)
        query = select(literal(target_job_id), *columns).where(row.job_id == job_id, row.step <= up_to_step)
        names = ["job_id", *(column.key for column in columns)]
        self._session.execute(insert(row).from_select(names, query))

    def list_series(
        self,
        job_id: str,
        *,
        names: Collection[str] | None = None,
        split: str | None = None,
        since_step: int | None = None,
        max_points: int | None = None,
    ) -> list[MetricSeries]:
        """List the curves of a job, ordered by name and split, with at most `max_points` points each.

        A longer curve is divided into buckets of equal size. Each bucket keeps its first, last, minimum and maximum
        points, so that spikes remain visible. A non-finite value counts as the maximum. A `max_points` below 4
        counts as 4.
        """
        row = MetricPointRow
        query = select(row.split, row.name, row.step, row.epoch, row.value, row.special).where(row.job_id == job_id)
        if names is not None:
            query = query.where(row.name.in_(names))
        if split is not None:
            query = query.where(row.split == split)
        if since_step is not None:
            query = query.where(row.step > since_step)
        rows = self._session.execute(query.order_by(row.name, row.split, row.step))
        points = (MetricPoint(*line) for line in rows)
        return [
            MetricSeries(name, part, downsample(list(group), max_points))
            for (name, part), group in groupby(points, key=lambda point: (point.name, point.split))
        ]


def downsample(points: Sequence[MetricPoint], max_points: int | None) -> list[MetricPoint]:
    """Select at most `max_points` points of a curve, including its minimum and maximum. Limits below 4 count as 4."""
    if max_points is None or len(points) <= max_points:
        return list(points)
    values = np.array([np.inf if point.value is None else point.value for point in points])
    return [points[i] for i in _select_indices(values, max(1, max_points // _PER_BUCKET))]


def _select_indices(values: npt.NDArray[np.float64], num_buckets: int) -> Iterator[int]:
    edges = np.linspace(0, len(values), num_buckets + 1).astype(int)
    for start, end in pairwise(edges.tolist()):
        bucket = values[start:end]
        yield from sorted({start, start + int(bucket.argmin()), start + int(bucket.argmax()), end - 1})
