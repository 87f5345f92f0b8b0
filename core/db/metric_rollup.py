"""Summarizes the points of a metric curve in blocks of steps. It does not know the database.

A rollup of one point is the point itself, and rollups of consecutive blocks combine to the rollup of both. Rollups
therefore never depend on the order in which points were written.
"""

from collections.abc import Iterable
from functools import reduce
from typing import NamedTuple

LEVELS = (64, 4096)
"""Numbers of steps per block. A block of the second level has 64 blocks of the first."""

USAGE_SPLIT = "usage"
"""The split of the curves that say what a trainer uses. They are not metrics of the model."""


class MetricPoint(NamedTuple):
    """The value of a metric at a step.

    If the value is not finite, `value` is None and `special` is "NaN", "Infinity" or "-Infinity". `elapsed_ms` is the
    training time before the point in milliseconds, over all attempts; None if it is not recorded.
    """

    split: str
    name: str
    step: int
    epoch: int
    value: float | None
    special: str | None = None
    elapsed_ms: int | None = None


class MetricRollup(NamedTuple):
    """The summary of consecutive points of one curve.

    Attributes:
        num_finite: number of points with a finite value.
        num_special: number of other points.
        lowest: the first point with the lowest finite value; None if no value is finite.
        highest: the first point with the highest finite value; None if no value is finite.
        special: the first point whose value is not finite, if any.
    """

    num_finite: int
    num_special: int
    first: MetricPoint
    last: MetricPoint
    lowest: MetricPoint | None
    highest: MetricPoint | None
    special: MetricPoint | None

    @classmethod
    def from_point(cls, point: MetricPoint) -> "MetricRollup":
        """Return the rollup of a single point."""
        if point.value is None:
            return cls(0, 1, point, point, None, None, point)
        return cls(1, 0, point, point, point, point, None)

    @property
    def num_points(self) -> int:
        """The number of all points."""
        return self.num_finite + self.num_special

    def list_points(self) -> list[MetricPoint]:
        """Return the stored points, each once, in the order of their steps."""
        stored = (self.lowest, self.highest, self.special, self.first, self.last)  # only the last two have times
        return sorted({point.step: point for point in stored if point is not None}.values(), key=_get_step)


def combine_rollups(rollups: Iterable[MetricRollup]) -> MetricRollup:
    """Return the rollup of all points of consecutive rollups, which must be in the order of their steps."""
    return reduce(_append_rollup, rollups)


def summarize_points(points: Iterable[MetricPoint]) -> MetricRollup:
    """Return the rollup of at least one point. The points must be in the order of their steps."""
    return combine_rollups(MetricRollup.from_point(point) for point in points)


def update_rollup(
    before: MetricRollup, points: Iterable[MetricPoint], last_step: int | None = None
) -> MetricRollup | None:
    """Return the rollup of a block, up to a step, from its stored points and its earlier rollup; None if it is empty.

    If retention has deleted points of the block, those that the earlier rollup has are kept. With `last_step`, the
    number of the other deleted points is that of evenly spaced points.
    """
    stored = {point.step: point for point in points}
    deleted = [point for point in before.list_points() if point.step not in stored]
    retained = [point for point in deleted if last_step is None or point.step <= last_step]
    if not stored and not retained:
        return None
    rollup = summarize_points(sorted([*stored.values(), *retained], key=_get_step))
    return _restore_counts(rollup, before, last_step) if retained else rollup


def _restore_counts(rollup: MetricRollup, before: MetricRollup, last_step: int | None) -> MetricRollup:
    """Return a rollup of some points of an earlier rollup with the number of all its points up to a step."""
    num_points, first, last = before.num_points, before.first.step, before.last.step
    if last_step is not None and last_step < last:
        num_points = 1 + (num_points - 1) * (last_step - first) // (last - first)
    num_special = 0
    if rollup.special is not None:
        num_special = max(rollup.num_special, round(before.num_special * num_points / before.num_points))
    num_finite = max(rollup.num_finite, num_points - num_special)
    return rollup._replace(num_finite=num_finite, num_special=num_special)


def _append_rollup(before: MetricRollup, after: MetricRollup) -> MetricRollup:
    return MetricRollup(
        before.num_finite + after.num_finite,
        before.num_special + after.num_special,
        before.first,
        after.last,
        _choose_point(before.lowest, after.lowest, sign=1.0),
        _choose_point(before.highest, after.highest, sign=-1.0),
        before.special or after.special,
    )


def _choose_point(before: MetricPoint | None, after: MetricPoint | None, sign: float) -> MetricPoint | None:
    """Return the point with the lower value times `sign`. Of equal points, return the earlier one."""
    if before is None or after is None:
        return before or after
    assert before.value is not None and after.value is not None  # noqa: S101, PT018 - extremes are finite
    return after if sign * after.value < sign * before.value else before


def _get_step(point: MetricPoint) -> int:
    return point.step
