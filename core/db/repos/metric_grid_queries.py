"""Statements that read the curves of several jobs on one grid, from their points or from their rollups."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, and_, case, func, literal, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute, aliased

from core.db.metric_rollup import LEVELS
from core.db.metric_tables import MetricRollupRow
from core.db.tables import MetricPointRow

FINE, COARSE = LEVELS


class GridAxis(StrEnum):
    """What the grid divides: steps, epochs, or milliseconds of training time over all attempts."""

    STEP = "step"
    EPOCH = "epoch"
    TIME = "time"


class CurveName(NamedTuple):
    """A metric on a split."""

    split: str
    name: str


class CurveQuery(NamedTuple):
    """The same curves of one or several jobs, and the part of the axis to read.

    Attributes:
        start: the lowest position to read. Default: the lowest of the curves.
        end: the highest position to read. Default: the highest of the curves.
        max_buckets: maximum number of buckets of the grid.
    """

    job_ids: Sequence[str]
    curves: Sequence[CurveName]
    axis: GridAxis
    start: int | None
    end: int | None
    max_buckets: int


def select_rollup_extents(query: CurveQuery, job_ids: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Select the extents of curves from coarse rollups.

    A row is (job, split, name, lowest and highest position, number of points, number of fine rollups).
    """
    row = MetricRollupRow
    last = _get_position(row, query.axis)
    first = {GridAxis.STEP: row.first_step, GridAxis.EPOCH: row.first_epoch, GridAxis.TIME: row.first_elapsed_ms}
    num_points = func.sum(row.num_finite + row.num_special)
    num_rollups = func.max(row.last_step) // FINE - func.min(row.first_step) // FINE + 1
    curve = (row.job_id, row.split, row.name)
    extents = select(*curve, func.min(first[query.axis]), func.max(last), num_points, num_rollups)
    in_range = (*_limit_range(last, query.start, None), *_limit_range(first[query.axis], None, query.end))
    return extents.where(*_select_curves(row, query, job_ids), row.level == COARSE, *in_range).group_by(*curve)


def select_point_extents(query: CurveQuery, job_ids: Sequence[str]) -> Select[*tuple[Any, ...]]:
    """Select the extents of curves without rollups. With 0 as their numbers of points, they are read point by point."""
    row = MetricPointRow
    position = _get_position(row, query.axis)
    curve = (row.job_id, row.split, row.name)
    extents = select(*curve, func.min(position), func.max(position), literal(0), literal(0))
    return extents.where(*_select_curves(row, query, job_ids)).group_by(*curve)


def select_point_cells(
    query: CurveQuery, curve: CurveName, job_ids: Sequence[str], width: int, bounds: tuple[int, int]
) -> Select[*tuple[Any, ...]]:
    """Select (job, bucket, lowest, highest, last, number of points, number of special points) from points."""
    row, last = MetricPointRow, aliased(MetricPointRow)
    position = _get_position(row, query.axis)
    num_special = func.sum(case((row.value.is_(None), 1), else_=0))
    values = (func.min(row.value), func.max(row.value), func.max(row.step), func.count(), num_special)
    conditions = (*_select_curve(row, curve, job_ids), *_limit_range(position, *bounds))
    cells = _group_cells(row, position // width, values, conditions)
    is_last = and_(*_select_curve(last, curve, [cells.c.job_id]), last.step == cells.c.last_step)
    return _join_last(cells, last, last.value, is_last)


def select_rollup_cells(
    query: CurveQuery, curve: CurveName, job_ids: Sequence[str], level: int, width: int, bounds: tuple[int, int]
) -> Select[*tuple[Any, ...]]:
    """Select the columns of `select_point_cells` from the rollups of one level."""
    row, last = MetricRollupRow, aliased(MetricRollupRow)
    position = _get_position(row, query.axis)
    num_points = func.sum(row.num_finite + row.num_special)
    values = (func.min(row.min_value), func.max(row.max_value), func.max(row.last_step), num_points)
    conditions = [*_select_curve(row, curve, job_ids), row.level == level, *_limit_range(position, *bounds)]
    if query.axis is GridAxis.STEP:  # a range of the primary key
        conditions += _limit_range(row.bucket, bounds[0] // level, bounds[1] // level)
    cells = _group_cells(row, position // width, (*values, func.sum(row.num_special)), conditions)
    block = (last.level == level, last.bucket == cells.c.last_step // level)
    is_last = and_(*_select_curve(last, curve, [cells.c.job_id]), *block)
    return _join_last(cells, last, last.last_value, is_last)


def _group_cells(
    row: Any,  # noqa: ANN401 - one of two tables
    bucket: ColumnElement[int],
    values: Sequence[ColumnElement[Any]],
    conditions: Sequence[ColumnElement[bool]],
) -> Subquery:
    names = ("lowest", "highest", "last_step", "num_points", "num_special")
    columns = [value.label(name) for name, value in zip(names, values, strict=True)]
    # Group by the name, because PostgreSQL does not see that two expressions with parameters are the same.
    cells = select(row.job_id, bucket.label("cell"), *columns).where(*conditions)
    return cells.group_by(row.job_id, literal_column("cell")).subquery()


def _join_last(
    cells: Subquery,
    last: Any,  # noqa: ANN401 - one of two tables
    value: ColumnElement[Any] | InstrumentedAttribute[Any],
    is_last: ColumnElement[bool],
) -> Select[*tuple[Any, ...]]:
    """Select the cells with the value of their last point, which is found by its primary key."""
    columns = (cells.c.job_id, cells.c.cell, cells.c.lowest, cells.c.highest, value)
    return select(*columns, cells.c.num_points, cells.c.num_special).join_from(cells, last, is_last)


def _get_position(row: Any, axis: GridAxis) -> Any:  # noqa: ANN401 - a column of one of two tables
    """Return the column with the position of a point, or of the last point of a rollup."""
    name = {GridAxis.STEP: "step", GridAxis.EPOCH: "epoch", GridAxis.TIME: "elapsed_ms"}[axis]
    return getattr(row, name) if hasattr(row, name) else getattr(row, f"last_{name}")


def _select_curves(row: Any, query: CurveQuery, job_ids: Sequence[str]) -> list[ColumnElement[bool]]:  # noqa: ANN401
    """Select the names and the splits of all curves of the query, which includes pairs that it does not name."""
    splits, names = ({curve[index] for curve in query.curves} for index in (0, 1))
    return [row.job_id.in_(job_ids), row.split.in_(sorted(splits)), row.name.in_(sorted(names))]


def _select_curve(row: Any, curve: CurveName, job_ids: Sequence[Any]) -> list[ColumnElement[bool]]:  # noqa: ANN401
    is_mine = row.job_id == job_ids[0] if len(job_ids) == 1 else row.job_id.in_(job_ids)
    return [is_mine, row.split == curve.split, row.name == curve.name]


def _limit_range(column: Any, low: int | None, high: int | None) -> list[ColumnElement[bool]]:  # noqa: ANN401
    limits = [] if low is None else [column >= low]
    return limits if high is None else [*limits, column <= high]
