"""Reads curves of one or several jobs on one grid of steps, epochs or training time.

Short curves are read point by point, and long ones from their rollups, so that the database reads a bounded number of
rows per curve.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.repos.metric_grid_queries import (
    COARSE,
    FINE,
    CurveName,
    CurveQuery,
    GridAxis,
    select_point_cells,
    select_point_extents,
    select_rollup_cells,
    select_rollup_extents,
)
from core.db.tables import JobRow

MAX_POINTS_PER_CURVE = 4096
"""A curve with more points in the range is read from rollups."""
MAX_ROLLUPS_PER_CURVE = 4096
"""A curve with more fine rollups in the range is read from coarse rollups."""
MAX_POINTS, MAX_ROLLUPS = 100_000, 400_000
"""The same limits for all curves of a request together. Each curve may read at least 512 points and 1024 rollups."""


class CurveKey(NamedTuple):
    """A metric of a job on a split."""

    job_id: str
    split: str
    name: str


class GridCurve(NamedTuple):
    """A curve of one job. The arrays have one value per position of the grid; NaN where there is no finite value.

    Attributes:
        last: the value of the last point in each bucket; NaN if it is not finite.
        num_points: the number of points in each bucket, including those that are not finite.
        num_special: the number of points in each bucket that are not finite.
    """

    key: CurveKey
    lowest: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float64]
    last: npt.NDArray[np.float64]
    num_points: npt.NDArray[np.int64]
    num_special: npt.NDArray[np.int64]


class MetricGrid(NamedTuple):
    """Curves on one grid.

    Attributes:
        width: the size of a bucket. Buckets begin at multiples of it.
        positions: the first position of each bucket in which a curve has a point.
    """

    width: int
    positions: npt.NDArray[np.int64]
    curves: list[GridCurve]


class _Extent(NamedTuple):
    """The range of a curve on the axis, its number of points and the number of its fine rollups."""

    low: int
    high: int
    num_points: int
    num_rollups: int


class _Cell(NamedTuple):
    """The points of one curve in one bucket of the grid."""

    key: CurveKey
    bucket: int
    lowest: float | None
    highest: float | None
    last: float | None
    num_points: int
    num_special: int


class MetricGridRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def read_grid(self, query: CurveQuery) -> MetricGrid:
        """Read the curves of every job on a grid of at most `max_buckets` buckets.

        The curves are in the order of the jobs, and those of a job in the order of the query.

        A block of rollups belongs to the bucket of its last point. With the axis `step`, buckets consist of whole
        blocks, so the values of each bucket are exact. With the other axes, only curves that are read point by point
        are exact to the point.
        """
        keys = [CurveKey(job_id, *curve) for job_id in query.job_ids for curve in query.curves]
        extents = self._find_extents(query)
        extents = {key: extents[key] for key in keys if key in extents and _overlaps(extents[key], query)}
        if not extents:
            return MetricGrid(1, np.array([], np.int64), [_build_curve(key, (), {}) for key in keys])
        levels = _choose_levels({key: _clip_extent(extent, query) for key, extent in extents.items()})
        expired = self._find_expired(query)
        levels = {key: max(level, FINE) if key.job_id in expired else level for key, level in levels.items()}
        low = min(extent.low for extent in extents.values()) if query.start is None else query.start
        high = max(extent.high for extent in extents.values()) if query.end is None else query.end
        unit = max(levels.values()) if query.axis is GridAxis.STEP else 1
        width = choose_width(low, high, query.max_buckets, unit)
        bounds = (low // width * width, (high // width + 1) * width - 1)
        by_curve: dict[CurveKey, list[_Cell]] = defaultdict(list)
        for cell in self._read_cells(query, levels, width, bounds):
            by_curve[cell.key].append(cell)
        buckets = sorted({cell.bucket for cells in by_curve.values() for cell in cells})
        places = {bucket: place for place, bucket in enumerate(buckets)}
        curves = [_build_curve(key, by_curve[key], places) for key in keys]
        return MetricGrid(width, np.array(buckets, np.int64) * width, curves)

    def _find_extents(self, query: CurveQuery) -> dict[CurveKey, _Extent]:
        """Return the extents of the curves: from coarse rollups, or from the points of jobs without rollups."""
        with_rollups = select(JobRow.id).where(JobRow.id.in_(query.job_ids), JobRow.has_rollups)
        complete = set(self._session.scalars(with_rollups))
        incomplete = [job_id for job_id in query.job_ids if job_id not in complete]
        lines: list[Any] = []
        if complete:
            lines += self._session.execute(select_rollup_extents(query, sorted(complete)))
        if incomplete:
            lines += self._session.execute(select_point_extents(query, incomplete))
        return {
            CurveKey(*curve): _Extent(low, high, int(num_points), int(num_rollups))
            for *curve, low, high, num_points, num_rollups in lines
            if low is not None and high is not None
        }

    def _find_expired(self, query: CurveQuery) -> set[str]:
        """Return the jobs whose points retention has deleted. Only rollups are left."""
        return set(
            self._session.scalars(select(JobRow.id).where(JobRow.id.in_(query.job_ids), JobRow.has_expired_points))
        )

    def _read_cells(
        self, query: CurveQuery, levels: Mapping[CurveKey, int], width: int, bounds: tuple[int, int]
    ) -> Iterator[_Cell]:
        """Read the cells with a statement for each curve and level.

        A statement for several curves would also read the points of long curves, which are read from rollups.
        """
        job_ids: dict[tuple[CurveName, int], list[str]] = defaultdict(list)
        for (job_id, *curve), level in levels.items():
            job_ids[CurveName(*curve), level].append(job_id)
        for (curve_name, level), mine in job_ids.items():
            if level == 1:
                statement = select_point_cells(query, curve_name, mine, width, bounds)
            else:
                statement = select_rollup_cells(query, curve_name, mine, level, width, bounds)
            for job_id, *values in self._session.execute(statement):
                yield _Cell(CurveKey(job_id, *curve_name), *values)


def choose_width(low: int, high: int, max_buckets: int, unit: int) -> int:
    """Return a multiple of `unit` with which the range has at most `max_buckets` (at least 2) buckets.

    Buckets begin at multiples of the width, so that the first and the last one may extend beyond the range. The width
    is therefore a little larger than the range divided by the number of buckets.
    """
    smallest = _round_up(-(-(high - low + 1) // max_buckets), unit)
    largest = _round_up(-(-(high - low) // (max_buckets - 1)), unit)  # always suffices
    candidates = range(smallest, min(largest, smallest + 64 * unit), unit)
    return next((width for width in candidates if high // width - low // width < max_buckets), largest)


def _round_up(number: int, unit: int) -> int:
    return max(1, -(-number // unit)) * unit


def _choose_levels(extents: Mapping[CurveKey, _Extent]) -> dict[CurveKey, int]:
    """Return what to read for each curve: 1 for its points, else the level of its rollups."""
    max_points = min(MAX_POINTS_PER_CURVE, max(512, MAX_POINTS // len(extents)))
    max_rollups = min(MAX_ROLLUPS_PER_CURVE, max(1024, MAX_ROLLUPS // len(extents)))

    def choose_level(extent: _Extent) -> int:
        if extent.num_points <= max_points:
            return 1
        return FINE if min(extent.num_rollups, extent.num_points) <= max_rollups else COARSE

    return {key: choose_level(extent) for key, extent in extents.items()}


def _clip_extent(extent: _Extent, query: CurveQuery) -> _Extent:
    """Return the part of an extent that the query reads. Numbers of points and rollups are estimated.

    The extent is that of coarse rollups, which can be much longer than the range.
    """
    low = extent.low if query.start is None else max(extent.low, query.start)
    high = extent.high if query.end is None else min(extent.high, query.end)
    share = (high - low + 1) / (extent.high - extent.low + 1)
    num_points, num_rollups = (math.ceil(share * number) for number in (extent.num_points, extent.num_rollups))
    return _Extent(low, high, num_points, num_rollups)


def _overlaps(extent: _Extent, query: CurveQuery) -> bool:
    is_before = query.start is not None and extent.high < query.start
    return not is_before and not (query.end is not None and extent.low > query.end)


def _build_curve(key: CurveKey, cells: Iterable[_Cell], places: Mapping[int, int]) -> GridCurve:
    lowest, highest, last = (np.full(len(places), np.nan) for _ in range(3))
    num_points, num_special = (np.zeros(len(places), np.int64) for _ in range(2))
    for cell in cells:
        place = places[cell.bucket]
        lowest[place] = np.nan if cell.lowest is None else cell.lowest
        highest[place] = np.nan if cell.highest is None else cell.highest
        last[place] = np.nan if cell.last is None else cell.last
        num_points[place], num_special[place] = cell.num_points, cell.num_special
    return GridCurve(key, lowest, highest, last, num_points, num_special)
