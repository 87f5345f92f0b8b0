"""Metric points are replaced, copied and downsampled."""

import math

import pytest
from sqlalchemy import delete

from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricPoint, MetricRepo, downsample
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, MetricPointRow
from tests.support.builders import job


def test_a_recomputed_point_replaces_the_old_one(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        repo = MetricRepo(session)
        repo.upsert(queued.id, [MetricPoint("train", "loss", step, 1, step / 10) for step in range(2500)])
        repo.upsert(queued.id, [MetricPoint("train", "loss", 7, 1, 9.0), MetricPoint("train", "loss", 7, 1, 8.0)])
        repo.upsert(queued.id, [MetricPoint("valid", "loss", 7, 1, None, "NaN"), MetricPoint("valid", "acc", 7, 1, 1)])
        repo.upsert(queued.id, [])
        curves = {(s.name, s.split): s.points for s in repo.list_series(queued.id)}
        assert {key: len(points) for key, points in curves.items()} == {
            ("acc", "valid"): 1,
            ("loss", "train"): 2500,
            ("loss", "valid"): 1,
        }
        assert curves["loss", "train"][7].value == 8.0
        assert curves["loss", "valid"][0].special == "NaN"
        assert [s.name for s in repo.list_series(queued.id, names=["acc"])] == ["acc"]
        assert [s.split for s in repo.list_series(queued.id, split="train")] == ["train"]
        assert [len(s.points) for s in repo.list_series(queued.id, since_step=2490)] == [9]
        assert [len(s.points) for s in repo.list_series(queued.id, max_points=100, split="train")] <= [100]


def test_curves_are_copied_up_to_a_step(sessions: SessionFactory, running: JobRow) -> None:
    points = [MetricPoint("valid", "loss", step, 1, 0.5) for step in (1, 3)]
    points.insert(1, MetricPoint("valid", "loss", 2, 1, None, "NaN"))
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        other = JobRepo(session).add(job(version))
        MetricRepo(session).upsert(running.id, points)
        MetricRepo(session).copy(running.id, other.id, up_to_step=2)
        (series,) = MetricRepo(session).list_series(other.id)
    assert series.points == points[:2]


@pytest.mark.parametrize("max_points", [4, 10, 100, 999, 1000, None])
def test_downsampling_keeps_the_ends_and_extremes(max_points: int | None) -> None:
    values = [math.sin(i / 50) for i in range(1000)]
    values[333], values[777] = 99.0, -99.0
    points = [MetricPoint("train", "loss", i, 1, value) for i, value in enumerate(values)]
    selected = downsample(points, max_points)
    assert len(selected) <= (max_points or 1000)
    assert {0, 333, 777, 999} <= {point.step for point in selected}
    assert [point.step for point in selected] == sorted({point.step for point in selected})


def test_downsampling_keeps_non_finite_values() -> None:
    points = [MetricPoint("train", "loss", i, 1, 0.5) for i in range(1000)]
    points[500] = MetricPoint("train", "loss", 500, 1, None, "Infinity")
    assert any(point.special for point in downsample(points, 8))


def test_long_curves_are_read_from_rollups_and_keep_the_contract(sessions: SessionFactory, running: JobRow) -> None:
    points = [MetricPoint("train", "loss", step, 1 + step // 100, math.sin(step / 50)) for step in range(9000)]
    points[3333] = MetricPoint("train", "loss", 3333, 34, 99.0)
    points[7777] = MetricPoint("train", "loss", 7777, 78, None, "NaN")
    short = [MetricPoint("valid", "loss", step, 1, 0.5) for step in range(10)]
    with transaction(sessions) as session:
        repo = MetricRepo(session)
        repo.upsert(running.id, [*points, *short])
        session.execute(delete(MetricPointRow).where(MetricPointRow.step == 20))  # the points are not read
        for max_points in (4, 100, 2000):
            train, valid = repo.list_series(running.id, max_points=max_points)
            assert len(train.points) <= max_points
            assert {0, 8999} <= {point.step for point in train.points}
            assert all(point in points for point in train.points)
            assert any(point.special == "NaN" for point in train.points)
            assert valid.points == downsample(short, max_points)
        train, _ = repo.list_series(running.id, max_points=2000)
        assert max(point.value or 0 for point in train.points) == 99.0
        (later,) = repo.list_series(running.id, since_step=3333, max_points=1000, split="train")
        assert later.points[0].step == 3334
        assert later.points[-1].step == 8999
        assert len(later.points) <= 1000


def test_a_long_curve_is_read_with_few_rows(sessions: SessionFactory, running: JobRow) -> None:
    points = [MetricPoint("train", "loss", step, 1, 1.0) for step in range(6000)]
    with transaction(sessions) as session:
        MetricRepo(session).upsert(running.id, points)
        session.execute(delete(MetricPointRow))  # as after the points have expired
        (series,) = MetricRepo(session).list_series(running.id, max_points=50)
    assert [series.points[0], series.points[-1]] == [points[0], points[-1]]
