"""Queries for metric curves: bulk writes, and reads with downsampling."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, delete, func, insert, literal, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from core.db.bulk import upsert_rows
from core.db.metric_rollup import USAGE_SPLIT, MetricPoint
from core.db.metric_tables import MetricRollupRow
from core.db.repos.metric_rollups import COARSE, FINE, POINT_COLUMNS, MetricRollupRepo
from core.db.repos.metric_summaries import MetricSummaryRepo
from core.db.tables import JobRow, MetricPointRow

_KEY = ("job_id", "split", "name", "step")
_PER_BUCKET = 4  # points per bucket: first, last, minimum and maximum
MAX_EXACT_POINTS = 4096
"""A curve with at most this number of points is read point by point. A longer one is read from its rollups."""

__all__ = ["MetricPoint", "MetricRepo", "MetricSeries", "downsample"]


class MetricSeries(NamedTuple):
    name: str
    split: str
    points: list[MetricPoint]  # ordered by step


class _Curve(NamedTuple):
    """A curve, and the level of rollups to read; None: read its points."""

    name: str
    split: str
    level: int | None


class MetricRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def upsert(self, job_id: str, points: Iterable[MetricPoint], *, has_rollups: bool | None = None) -> None:
        """Insert points and update the rollups. Points stored before for the same split, metric and step are replaced.

        The caller has locked the row of the job, and may already know whether its rollups are complete.
        """
        unique = {(point.split, point.name, point.step): point for point in points}
        values = [{"job_id": job_id, **point._asdict()} for point in unique.values()]
        upsert_rows(self._session, MetricPointRow, _KEY, values)
        if values and (self.has_rollups(job_id) if has_rollups is None else has_rollups):
            MetricRollupRepo(self._session).add_points(job_id, unique.values())

    def has_rollups(self, job_id: str) -> bool:
        """Return whether the rollups of a job are complete. Maintenance builds those of jobs of earlier versions."""
        return bool(self._session.scalar(select(JobRow.has_rollups).where(JobRow.id == job_id)))

    def truncate(self, job_id: str, after_step: int) -> None:
        """Delete the points after a step, because an attempt starts there. The caller has locked the row of the job."""
        if self.has_rollups(job_id):
            curves = MetricRollupRepo(self._session).truncate(job_id, after_step)
            MetricSummaryRepo(self._session).refresh_bests(job_id, curves)
            return
        row = MetricPointRow
        self._session.execute(delete(row).where(row.job_id == job_id, row.step > after_step))
        MetricRollupRepo(self._session).delete_rollups(job_id)  # of a build that maintenance has not finished

    def copy(self, job_id: str, target_job_id: str, *, up_to_step: int) -> None:
        """Copy the curves of a job to a new job, up to a step."""
        row = MetricPointRow
        query = select(literal(target_job_id), *POINT_COLUMNS).where(row.job_id == job_id, row.step <= up_to_step)
        names = ["job_id", *(column.key for column in POINT_COLUMNS)]
        self._session.execute(insert(row).from_select(names, query))
        if self.has_rollups(job_id):
            MetricRollupRepo(self._session).copy(job_id, target_job_id, up_to_step=up_to_step)
            if self._has_expired_points(job_id):
                self._session.execute(update(JobRow).where(JobRow.id == target_job_id).values(has_expired_points=True))
        else:
            self._session.execute(update(JobRow).where(JobRow.id == target_job_id).values(has_rollups=False))

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

        Curves of the split `usage` are listed only if it is named.
        A longer curve is divided into buckets of equal size. Each bucket keeps its first, last, minimum and maximum
        points, so that spikes remain visible. A non-finite value counts as the maximum. A `max_points` below 4
        counts as 4. With `max_points`, long curves are read from their rollups: the points are then selected from the
        extremes of blocks of 64 or 4096 steps. If retention has deleted the points, those of the blocks of 64 steps
        are all that is left.
        """
        if self._has_expired_points(job_id):
            return self._read_expired(job_id, names, split, since_step, max_points)
        if max_points is None or not self.has_rollups(job_id):
            row = MetricPointRow
            filters = [_is_split(row.split, split)]
            if names is not None:
                filters.append(row.name.in_(names))
            return self._read_points(job_id, filters, since_step, max_points)
        series = []
        for curve in self._list_curves(job_id, names, split, since_step, max_points):
            if curve.level is None:
                is_mine = (MetricPointRow.split == curve.split, MetricPointRow.name == curve.name)
                series += self._read_points(job_id, is_mine, since_step, max_points)
            else:
                points = self._read_rollups(job_id, curve.split, curve.name, curve.level, since_step)
                series.append(MetricSeries(curve.name, curve.split, downsample(points, max_points)))
        return series

    def _has_expired_points(self, job_id: str) -> bool:
        return bool(self._session.scalar(select(JobRow.has_expired_points).where(JobRow.id == job_id)))

    def _read_expired(
        self,
        job_id: str,
        names: Collection[str] | None,
        split: str | None,
        since_step: int | None,
        max_points: int | None,
    ) -> list[MetricSeries]:
        """Read the points that the rollups of a job still have."""
        rollups, series = MetricRollupRepo(self._session), []
        for curve in self._list_curves(job_id, names, split, since_step, max_points or MAX_EXACT_POINTS):
            blocks = rollups.list_rollups(job_id, curve.split, curve.name, FINE, since_step)
            points = [point for block in blocks for point in block.list_points()]
            later = [point for point in points if since_step is None or point.step > since_step]
            series.append(MetricSeries(curve.name, curve.split, downsample(later, max_points)))
        return series

    def _read_points(
        self, job_id: str, filters: Sequence[ColumnElement[bool]], since_step: int | None, max_points: int | None
    ) -> list[MetricSeries]:
        row = MetricPointRow
        query = select(*POINT_COLUMNS).where(row.job_id == job_id, *filters)
        if since_step is not None:
            query = query.where(row.step > since_step)
        rows = self._session.execute(query.order_by(row.name, row.split, row.step))
        points = (MetricPoint(*line) for line in rows)
        return [
            MetricSeries(name, part, downsample(list(group), max_points))
            for (name, part), group in groupby(points, key=lambda point: (point.name, point.split))
        ]

    def _list_curves(
        self, job_id: str, names: Collection[str] | None, split: str | None, since_step: int | None, max_points: int
    ) -> list[_Curve]:
        """List the curves of a job with complete rollups, ordered by name and split, and how to read each of them."""
        row = MetricRollupRow
        num_points, num_blocks = func.sum(row.num_finite + row.num_special), func.count()
        query = select(row.split, row.name, num_points, num_blocks).where(row.job_id == job_id, row.level == COARSE)
        if names is not None:
            query = query.where(row.name.in_(names))
        query = query.where(_is_split(row.split, split))
        if since_step is not None:
            query = query.where(row.last_step > since_step)
        curves = []
        for part, name, size, num_coarse in self._session.execute(query.group_by(row.split, row.name)):
            level = COARSE if _PER_BUCKET * num_coarse >= max_points else FINE
            curves.append(_Curve(name, part, level if size > max(max_points, MAX_EXACT_POINTS) else None))
        return sorted(curves, key=lambda curve: (curve.name, curve.split))

    def _read_rollups(
        self, job_id: str, split: str, name: str, level: int, since_step: int | None
    ) -> list[MetricPoint]:
        """Return the stored points of the rollups of a curve. A block that begins before `since_step` is read whole."""
        rollups = MetricRollupRepo(self._session).list_rollups(job_id, split, name, level, since_step)
        points = [point for rollup in rollups for point in rollup.list_points()]
        if since_step is None or not rollups or rollups[0].first.step > since_step:
            return points
        row, end = MetricPointRow, rollups[0].last.step
        curve = (row.split == split, row.name == name, row.step <= end)
        parts = self._read_points(job_id, curve, since_step, None)
        return [*(parts[0].points if parts else ()), *(point for point in points if point.step > end)]


def _is_split(column: ColumnElement[str] | InstrumentedAttribute[str], split: str | None) -> ColumnElement[bool]:
    return column != USAGE_SPLIT if split is None else column == split


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
