"""Curves of several jobs on one grid equal sums over their points."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import event, update

from core.db.metric_rollup import MetricPoint
from core.db.repos import metric_grid
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_grid import MetricGrid, MetricGridRepo, choose_width
from core.db.repos.metric_grid_queries import CurveName, CurveQuery, GridAxis
from core.db.repos.metrics import MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from tests.support.builders import job

ReadGrid = Callable[..., MetricGrid]
NUM_STEPS = {"short": 300, "long": 9000}
MS_PER_STEP = 20
LOSS = CurveName("train", "loss")


def build_points(num_steps: int, stride: int = 1) -> list[MetricPoint]:
    steps = range(1, num_steps + 1, stride)
    values: list[tuple[float | None, str | None]] = [
        (None, "NaN") if step % 50 == 0 else (math.sin(step / 9) + step / 1e3, None) for step in steps
    ]
    return [
        MetricPoint("train", "loss", step, 1 + (step - 1) // 100, value, special, MS_PER_STEP * step)
        for step, (value, special) in zip(steps, values, strict=True)
    ]


@pytest.fixture
def jobs(sessions: SessionFactory, queued: JobRow) -> dict[str, str]:
    """Two jobs with a short and a long curve, and one without points: {name: id}."""
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, queued.dataset_version_id)
        ids = {"empty": queued.id}
        for name, num_steps in NUM_STEPS.items():
            ids[name] = JobRepo(session).add(job(version)).id
            MetricRepo(session).upsert(ids[name], build_points(num_steps))
        return ids


@pytest.fixture
def read_grid(sessions: SessionFactory, jobs: dict[str, str]) -> ReadGrid:
    def read(
        *names: str, axis: GridAxis = GridAxis.STEP, start: int | None = None, end: int | None = None, buckets: int = 50
    ) -> MetricGrid:
        query = CurveQuery([jobs[name] for name in names], [LOSS], axis, start, end, buckets)
        with transaction(sessions, read_only=True) as session:
            return MetricGridRepo(session).read_grid(query)

    return read


def get_position(point: MetricPoint, axis: GridAxis) -> int:
    position = {"step": point.step, "epoch": point.epoch, "time": point.elapsed_ms}[axis]
    assert position is not None
    return position


def check_curve(grid: MetricGrid, index: int, points: Sequence[MetricPoint], axis: GridAxis) -> None:
    """Compare a curve with the points that fall into each bucket."""
    curve = grid.curves[index]
    for place, start in enumerate(grid.positions.tolist()):
        mine = [point for point in points if start <= get_position(point, axis) < start + grid.width]
        finite = [point.value for point in mine if point.value is not None]
        assert curve.num_points[place] == len(mine)
        assert curve.num_special[place] == len(mine) - len(finite)
        assert curve.lowest[place] == min(finite) if finite else math.isnan(curve.lowest[place])
        assert curve.highest[place] == max(finite) if finite else math.isnan(curve.highest[place])
        last = mine[-1].value if mine else None
        assert math.isnan(curve.last[place]) if last is None else curve.last[place] == last


@pytest.mark.parametrize("axis", GridAxis)
@pytest.mark.parametrize("buckets", [2, 7, 50, 300])
def test_short_curves_are_exact_on_every_axis(read_grid: ReadGrid, axis: GridAxis, buckets: int) -> None:
    grid = read_grid("short", "empty", axis=axis, buckets=buckets)
    assert len(grid.positions) <= buckets
    check_curve(grid, 0, build_points(300), axis)
    assert grid.curves[0].num_points.sum() == 300
    assert not grid.curves[1].num_points.any()


@pytest.mark.parametrize(
    ("options", "width"),
    [
        ({}, 192),  # 9000 steps in 50 buckets: three blocks of 64
        ({"buckets": 500}, 64),
        ({"start": 4000, "end": 4999, "buckets": 500}, 2),  # a part with few points is read point by point
        ({"start": 4000, "end": 4000}, 1),
        ({"start": 100, "end": 8900, "buckets": 20}, 448),
    ],
)
def test_steps_are_exact_for_rollups_and_points(read_grid: ReadGrid, options: dict[str, int], width: int) -> None:
    grid = read_grid("long", "short", **options)
    assert grid.width == width
    assert len(grid.positions) <= options.get("buckets", 50)
    check_curve(grid, 0, build_points(9000), GridAxis.STEP)
    check_curve(grid, 1, build_points(300), GridAxis.STEP)
    if "start" not in options:
        assert grid.curves[0].num_points.sum() == 9000


def test_many_steps_are_read_from_coarse_rollups(read_grid: ReadGrid, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metric_grid, "MAX_ROLLUPS_PER_CURVE", 100)
    grid = read_grid("long", "short", buckets=500)
    assert (grid.width, grid.positions.tolist()) == (4096, [0, 4096, 8192])
    check_curve(grid, 0, build_points(9000), GridAxis.STEP)
    check_curve(grid, 1, build_points(300), GridAxis.STEP)


@pytest.mark.parametrize("axis", [GridAxis.EPOCH, GridAxis.TIME])
def test_blocks_of_a_long_curve_count_where_they_end(read_grid: ReadGrid, axis: GridAxis) -> None:
    grid = read_grid("long", axis=axis, buckets=30)
    (curve,) = grid.curves
    points = build_points(9000)
    finite = [point.value for point in points if point.value is not None]
    assert (curve.num_points.sum(), curve.num_special.sum()) == (9000, 180)
    assert (np.nanmin(curve.lowest), np.nanmax(curve.highest)) == (min(finite), max(finite))
    for place, start in enumerate(grid.positions.tolist()):
        before = sum(get_position(point, axis) < start + grid.width for point in points)
        assert abs(curve.num_points[: place + 1].sum() - before) < 64


def test_a_job_without_rollups_is_read_point_by_point(
    read_grid: ReadGrid, sessions: SessionFactory, jobs: dict[str, str]
) -> None:
    expected = read_grid("long", "short")
    with transaction(sessions) as session:
        session.execute(update(JobRow).where(JobRow.id == jobs["long"]).values(has_rollups=False))
    grid = read_grid("long", "short", buckets=50)
    assert grid.width == 181  # not a multiple of a block
    check_curve(grid, 0, build_points(9000), GridAxis.STEP)
    assert expected.curves[0].num_points.sum() == grid.curves[0].num_points.sum()


def test_a_range_without_points_is_empty(read_grid: ReadGrid) -> None:
    grid = read_grid("long", "empty", start=20_000, end=30_000)
    assert grid.positions.tolist() == []
    assert [curve.num_points.tolist() for curve in grid.curves] == [[], []]


def test_points_without_time_are_not_on_the_time_axis(
    read_grid: ReadGrid, sessions: SessionFactory, jobs: dict[str, str]
) -> None:
    with transaction(sessions) as session:
        MetricRepo(session).upsert(jobs["empty"], [MetricPoint("train", "loss", 1, 1, 0.5)])
    assert read_grid("empty", axis=GridAxis.TIME).positions.tolist() == []
    assert read_grid("empty").positions.tolist() == [1]


@given(
    low=st.integers(0, 10**6),
    span=st.integers(0, 10**7),
    max_buckets=st.integers(2, 2000),
    unit=st.sampled_from([1, 64, 4096]),
)
def test_the_width_gives_at_most_the_requested_number_of_buckets(
    low: int, span: int, max_buckets: int, unit: int
) -> None:
    width, high = choose_width(low, low + span, max_buckets, unit), low + span
    assert width % unit == 0
    assert high // width - low // width + 1 <= max_buckets
    assert width <= 2 * unit or (span + 1) / width > (max_buckets - 2) / 2


def test_several_curves_of_jobs_share_one_grid(sessions: SessionFactory, jobs: dict[str, str]) -> None:
    """Curves that are read from points, from rollups and on other splits appear in the order of the request."""
    sparse = [MetricPoint("valid", "loss", step, step // 100, step / 10, None, step) for step in range(100, 9001, 100)]
    other = [MetricPoint("train", "lr", step, 1, 0.1, None, step) for step in range(1, 9001)]
    with transaction(sessions) as session:
        MetricRepo(session).upsert(jobs["long"], [*sparse, *other])
        MetricRepo(session).upsert(jobs["short"], other[:300])
    curves = [CurveName("valid", "loss"), LOSS]
    query = CurveQuery([jobs["short"], jobs["long"]], curves, GridAxis.STEP, None, None, 50)
    with transaction(sessions, read_only=True) as session:
        grid = MetricGridRepo(session).read_grid(query)
    assert [(curve.key.job_id, *curve.key[1:]) for curve in grid.curves] == [
        (jobs[name], *curve) for name in ("short", "long") for curve in curves
    ]
    assert grid.curves[0].num_points.sum() == 0
    expected = {1: build_points(300), 2: sparse, 3: build_points(9000)}
    for index, points in expected.items():
        check_curve(grid, index, points, GridAxis.STEP)


def test_points_of_a_long_curve_are_not_read_with_those_of_short_ones(
    sessions: SessionFactory, jobs: dict[str, str]
) -> None:
    short = [CurveName("valid", "loss"), CurveName("train", "accuracy")]  # the names of both occur in `LOSS`
    points = [MetricPoint(*curve, step, 1, 0.5, None, step) for curve in short for step in (100, 200)]
    with transaction(sessions) as session:
        MetricRepo(session).upsert(jobs["long"], points)
    seen: list[tuple[str, Any]] = []

    def record(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        seen.append((statement, parameters))

    with transaction(sessions, read_only=True) as session:
        event.listen(session.get_bind(), "before_cursor_execute", record)
        grid = MetricGridRepo(session).read_grid(
            CurveQuery([jobs["long"]], [LOSS, *short], GridAxis.STEP, None, None, 50)
        )
        event.remove(session.get_bind(), "before_cursor_execute", record)
    assert [curve.num_points.sum() for curve in grid.curves] == [9000, 2, 2]
    of_points = [
        list(values.values() if isinstance(values, dict) else values)
        for text, values in seen
        if "FROM metric_point" in text
    ]
    assert len(of_points) == 2
    assert not [values for values in of_points if {"train", "loss"} <= set(map(str, values))]
