"""Queries that keep the rollups of metric curves equal to their points.

Retention deletes points and keeps their rollups. A fine block that is computed again therefore also keeps the points
that its rollup has stored.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from sqlalchemy import Row, Select, delete, insert, literal, select
from sqlalchemy.orm import Session

from core.db.bulk import select_rows, upsert_rows
from core.db.metric_rollup import (
    LEVELS,
    MetricPoint,
    MetricRollup,
    combine_rollups,
    summarize_points,
    update_rollup,
)
from core.db.metric_tables import MetricRollupRow
from core.db.tables import MetricPointRow

FINE, COARSE = LEVELS
_NUM_BLOCKS = COARSE // FINE
_KEY = ("job_id", "split", "name", "level", "bucket")
_VALUES = tuple(column.key for column in MetricRollupRow.__table__.columns if column.key not in _KEY)
_COLUMNS = tuple(getattr(MetricRollupRow, name) for name in (*_KEY[1:], *_VALUES))
_CHUNK = 500
POINT_COLUMNS = (
    MetricPointRow.split,
    MetricPointRow.name,
    MetricPointRow.step,
    MetricPointRow.epoch,
    MetricPointRow.value,
    MetricPointRow.special,
    MetricPointRow.elapsed_ms,
)
"""The columns of a `MetricPoint`, in its order."""


class StepBlock(NamedTuple):
    """A block of steps of one curve: the steps from `bucket * level` to `(bucket + 1) * level - 1`."""

    split: str
    name: str
    level: int
    bucket: int


class MetricRollupRepo:
    """Every method that writes runs in the transaction that writes the points, while the job's row is locked."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add_points(self, job_id: str, points: Iterable[MetricPoint]) -> None:
        """Update the rollups after these points were stored. Points may replace earlier points of the same steps.

        If all points are after the stored ones, which is the normal case, only the changed rollups are read. Otherwise
        a rollup is computed again.
        """
        unique = {(point.split, point.name, point.step): point for point in points}
        ordered = [unique[key] for key in sorted(unique)]
        groups = {block: members for level in LEVELS for block, members in group_points(ordered, level).items()}
        existing = self._load_blocks(job_id, groups)
        changed, outdated = dict[StepBlock, MetricRollup](), list[StepBlock]()
        for block, members in groups.items():
            before = existing.get(block)
            if before is None:
                changed[block] = summarize_points(members)
            elif before.last.step < members[0].step:
                changed[block] = combine_rollups((before, summarize_points(members)))
            else:
                outdated.append(block)
        self.store_rollups(job_id, changed)
        for level in LEVELS:  # fine blocks first: coarse ones use them
            for block in outdated:
                if block.level == level:
                    self._refresh_block(job_id, block, existing[block])

    def truncate(self, job_id: str, after_step: int) -> list[tuple[str, str]]:
        """Delete the points after a step, with their rollups. Return the split and the name of each changed curve."""
        row, point = MetricRollupRow, MetricPointRow
        query = select(row.split, row.name).where(row.job_id == job_id, row.level == COARSE, row.last_step > after_step)
        curves = [(split, name) for split, name in self._session.execute(query.distinct())]
        for split, name in curves:
            mine = (row.job_id == job_id, row.split == split, row.name == name)
            own_points = (point.job_id == job_id, point.split == split, point.name == name)
            self._session.execute(delete(point).where(*own_points, point.step > after_step))
            for level in LEVELS:
                first_bucket = max(0, after_step) // level
                self._session.execute(delete(row).where(*mine, row.level == level, row.bucket > first_bucket))
                cut = select(*_COLUMNS).where(*mine, row.level == level, row.last_step > after_step)
                for block, rollup in list(self._execute(cut)):
                    self._refresh_block(job_id, block, rollup, after_step)
        return curves

    def copy(self, job_id: str, target_job_id: str, *, up_to_step: int) -> None:
        """Copy the rollups of a job whose points up to a step were copied to another job."""
        row = MetricRollupRow
        names = [name for name in (*_KEY, *_VALUES) if name != "job_id"]
        complete = select(literal(target_job_id), *(getattr(row, name) for name in names)).where(
            row.job_id == job_id, row.last_step <= up_to_step
        )
        self._session.execute(insert(row).from_select(["job_id", *names], complete))
        cut = select(*_COLUMNS).where(row.job_id == job_id, row.first_step <= up_to_step, row.last_step > up_to_step)
        for block, rollup in list(self._execute(cut.order_by(row.level))):  # fine blocks first: coarse ones use them
            self._refresh_block(target_job_id, block, rollup, up_to_step)

    def store_rollups(self, job_id: str, rollups: dict[StepBlock, MetricRollup]) -> None:
        """Insert rollups, or replace those of the same blocks."""
        rows = [{"job_id": job_id, **block._asdict(), **_dump_rollup(rollup)} for block, rollup in rollups.items()]
        upsert_rows(self._session, MetricRollupRow, _KEY, rows)

    def delete_rollups(self, job_id: str) -> None:
        """Delete all rollups of a job."""
        self._session.execute(delete(MetricRollupRow).where(MetricRollupRow.job_id == job_id))

    def list_rollups(
        self, job_id: str, split: str, name: str, level: int, since_step: int | None = None
    ) -> list[MetricRollup]:
        """List the rollups of a curve in the order of their steps. With `since_step`, only those with later points."""
        row = MetricRollupRow
        query = select(*_COLUMNS).where(row.job_id == job_id, row.split == split, row.name == name, row.level == level)
        if since_step is not None:
            query = query.where(row.bucket >= since_step // level, row.last_step > since_step)
        return [rollup for _, rollup in self._execute(query.order_by(row.bucket))]

    def _load_blocks(self, job_id: str, blocks: Collection[StepBlock]) -> dict[StepBlock, MetricRollup]:
        names, requested = (*_KEY[1:], *_VALUES), [block._asdict() for block in blocks]
        found: dict[StepBlock, MetricRollup] = {}
        for start in range(0, len(requested), _CHUNK):
            chunk = requested[start : start + _CHUNK]
            found.update(_load_row(row) for row in select_rows(self._session, MetricRollupRow, names, job_id, chunk))
        return found

    def _execute(self, query: Select[*tuple[Any, ...]]) -> Iterator[tuple[StepBlock, MetricRollup]]:
        for row in self._session.execute(query):
            yield _load_row(row)

    def _refresh_block(self, job_id: str, block: StepBlock, before: MetricRollup, last_step: int | None = None) -> None:
        """Compute a rollup again from its parts up to a step, or delete it if no part is left.

        The parts of a fine block are its points, with those of the rollup `before`; the parts of a coarse one are its
        fine blocks.
        """
        if block.level == FINE:
            points = self._session.execute(_select_points(job_id, block).order_by(MetricPointRow.step))
            rollup = update_rollup(before, (MetricPoint(*point) for point in points), last_step)
        else:
            fine = list(self._execute(_select_fine_rollups(job_id, block).order_by(MetricRollupRow.bucket)))
            rollup = combine_rollups(part for _, part in fine) if fine else None
        if rollup is not None:
            self.store_rollups(job_id, {block: rollup})
            return
        row = MetricRollupRow
        key = (row.split == block.split, row.name == block.name, row.level == block.level, row.bucket == block.bucket)
        self._session.execute(delete(row).where(row.job_id == job_id, *key))


def group_points(points: Iterable[MetricPoint], level: int) -> dict[StepBlock, list[MetricPoint]]:
    """Group points, which must be sorted by split, name and step, by blocks of one level."""

    def get_key(point: MetricPoint) -> StepBlock:
        return StepBlock(point.split, point.name, level, point.step // level)

    return {block: list(members) for block, members in groupby(points, get_key)}


def build_rollups(points: Sequence[MetricPoint]) -> dict[StepBlock, MetricRollup]:
    """Return all rollups of a part of a curve that begins and ends with a coarse block."""
    groups = (group_points(points, level) for level in LEVELS)
    return {block: summarize_points(members) for group in groups for block, members in group.items()}


def _select_points(job_id: str, block: StepBlock) -> Select[*tuple[Any, ...]]:
    row, first_step = MetricPointRow, block.bucket * block.level
    curve = (row.job_id == job_id, row.split == block.split, row.name == block.name)
    return select(*POINT_COLUMNS).where(*curve, row.step >= first_step, row.step < first_step + block.level)


def _select_fine_rollups(job_id: str, block: StepBlock) -> Select[*tuple[Any, ...]]:
    row, first_bucket = MetricRollupRow, block.bucket * _NUM_BLOCKS
    query = select(*_COLUMNS).where(row.job_id == job_id, row.split == block.split, row.name == block.name)
    return query.where(row.level == FINE, row.bucket >= first_bucket, row.bucket < first_bucket + _NUM_BLOCKS)


def _dump_rollup(rollup: MetricRollup) -> dict[str, Any]:
    values: dict[str, Any] = {"num_finite": rollup.num_finite, "num_special": rollup.num_special}
    for prefix, point in (("first", rollup.first), ("last", rollup.last)):
        values |= {f"{prefix}_step": point.step, f"{prefix}_epoch": point.epoch, f"{prefix}_value": point.value}
        values |= {f"{prefix}_elapsed_ms": point.elapsed_ms, f"{prefix}_special": point.special}
    for prefix, extreme in (("min", rollup.lowest), ("max", rollup.highest), ("special", rollup.special)):
        values[f"{prefix}_step"] = None if extreme is None else extreme.step
        values[f"{prefix}_epoch"] = None if extreme is None else extreme.epoch
    values["min_value"] = None if rollup.lowest is None else rollup.lowest.value
    values["max_value"] = None if rollup.highest is None else rollup.highest.value
    values["special_kind"] = None if rollup.special is None else rollup.special.special
    return values


def _load_row(row: Row[*tuple[Any, ...]]) -> tuple[StepBlock, MetricRollup]:
    return StepBlock(row.split, row.name, row.level, row.bucket), _load_rollup(row)


def _load_rollup(row: Row[*tuple[Any, ...]]) -> MetricRollup:
    def build_point(step: int | None, epoch: int | None, value: float | None, *rest: Any) -> MetricPoint | None:  # noqa: ANN401
        return None if step is None else MetricPoint(row.split, row.name, step, epoch or 0, value, *rest)

    first = build_point(row.first_step, row.first_epoch, row.first_value, row.first_special, row.first_elapsed_ms)
    last = build_point(row.last_step, row.last_epoch, row.last_value, row.last_special, row.last_elapsed_ms)
    assert first is not None and last is not None  # noqa: S101, PT018 - their steps are never null
    return MetricRollup(
        row.num_finite,
        row.num_special,
        first,
        last,
        build_point(row.min_step, row.min_epoch, row.min_value),
        build_point(row.max_step, row.max_epoch, row.max_value),
        build_point(row.special_step, row.special_epoch, None, row.special_kind),
    )
