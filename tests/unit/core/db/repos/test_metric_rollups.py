"""Rollups equal the summaries of the stored points, whatever is appended, replaced or truncated."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select

from core.db.metric_rollup import LEVELS, MetricPoint, MetricRollup
from core.db.metric_tables import MetricRollupRow, MetricSummaryRow
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_rollups import POINT_COLUMNS, MetricRollupRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.repos.metrics import MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, MetricPointRow
from tests.support.builders import job

CURVES = (("train", "loss"), ("valid", "accuracy"))
VALUES = st.one_of(
    st.sampled_from([(None, "NaN"), (None, "Infinity"), (None, "-Infinity"), (0.5, None)]),
    st.tuples(st.floats(-1e3, 1e3, allow_nan=False), st.none()),
)
STEPS = st.one_of(st.integers(0, 200), st.integers(4000, 4200), st.integers(8190, 8195))
APPEND = st.tuples(st.just("append"), st.lists(st.tuples(st.sampled_from(CURVES), STEPS, VALUES), max_size=30))
TRUNCATE = st.tuples(st.just("truncate"), STEPS)


def summarize(points: Sequence[MetricPoint]) -> MetricRollup:
    """Summarize points in the order of their steps, in the plainest way."""
    finite = [point for point in points if point.value is not None]
    special = [point for point in points if point.value is None]
    lowest = min(finite, key=lambda point: (point.value, point.step), default=None)
    highest = max(finite, key=lambda point: (point.value, -point.step), default=None)
    bare = [None if it is None else it._replace(elapsed_ms=None) for it in (lowest, highest, *special[:1])]
    extremes = (*bare, None)[:3]
    return MetricRollup(len(finite), len(special), points[0], points[-1], *extremes)


def check_rollups(sessions: SessionFactory, job_id: str) -> int:
    """Compare all rollups of a job with summaries of its points. Return the number of rollups."""
    with transaction(sessions, read_only=True) as session:
        query = select(*POINT_COLUMNS).where(MetricPointRow.job_id == job_id).order_by(MetricPointRow.step)
        points = [MetricPoint(*row) for row in session.execute(query)]
        num_rollups = 0
        for level in LEVELS:
            for split, name in CURVES:
                mine = [point for point in points if (point.split, point.name) == (split, name)]
                buckets = sorted({point.step // level for point in mine})
                expected = [summarize([point for point in mine if point.step // level == bucket]) for bucket in buckets]
                assert MetricRollupRepo(session).list_rollups(job_id, split, name, level) == expected
                num_rollups += len(expected)
        row = MetricRollupRow
        stored = session.execute(select(row.bucket, row.level, row.first_step).where(row.job_id == job_id)).all()
    assert len(stored) == num_rollups
    assert all(first_step // level == bucket for bucket, level, first_step in stored)
    return num_rollups


@given(changes=st.lists(st.one_of(APPEND, TRUNCATE), max_size=8))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_rollups_equal_the_summaries_of_the_points(
    sqlite_sessions: SessionFactory, sqlite_job: JobRow, changes: list[tuple[str, object]]
) -> None:
    with transaction(sqlite_sessions) as session:
        session.execute(delete(MetricPointRow))
        session.execute(delete(MetricRollupRow))
    for kind, change in changes:
        with transaction(sqlite_sessions) as session:
            repo = MetricRepo(session)
            if kind == "truncate":
                assert isinstance(change, int)
                repo.truncate(sqlite_job.id, change)
            else:
                assert isinstance(change, list)
                points = [
                    MetricPoint(split, name, step, 1 + step // 50, value, special, 10 * step)
                    for (split, name), step, (value, special) in change
                ]
                repo.upsert(sqlite_job.id, points)
        check_rollups(sqlite_sessions, sqlite_job.id)


@pytest.fixture
def sqlite_job(sqlite_sessions: SessionFactory) -> JobRow:
    from tests.support.builders import dataset_version

    with transaction(sqlite_sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        return JobRepo(session).add(job(version))


def build_points(steps: range) -> list[MetricPoint]:
    values: list[tuple[float | None, str | None]] = [
        (None, "NaN") if step % 97 == 0 else (float(step % 31) - step / 1e4, None) for step in steps
    ]
    return [
        MetricPoint(split, name, step, 1 + step // 100, value, special, step)
        for split, name in CURVES
        for step, (value, special) in zip(steps, values, strict=True)
    ]


def test_rollups_survive_appends_replacements_and_a_resume(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        repo = MetricRepo(session)
        for start in range(1, 10_000, 500):
            repo.upsert(running.id, build_points(range(start, start + 500)))
        repo.upsert(running.id, [MetricPoint("train", "loss", 4097, 1, -1e9), MetricPoint("train", "loss", 1, 1, 1e9)])
    assert check_rollups(sessions, running.id) == 2 * (157 + 3)
    with transaction(sessions) as session:
        MetricRepo(session).truncate(running.id, 4100)
    assert check_rollups(sessions, running.id) == 2 * (65 + 2)
    with transaction(sessions) as session:
        MetricRepo(session).upsert(running.id, build_points(range(4101, 4200)))
        MetricRepo(session).truncate(running.id, 10_000)  # nothing is after this step
    assert check_rollups(sessions, running.id) == 2 * (66 + 2)
    with transaction(sessions) as session:
        MetricRepo(session).truncate(running.id, -1)
    assert check_rollups(sessions, running.id) == 0


@pytest.mark.parametrize("up_to_step", [50, 4096, 5000])
def test_a_copy_has_the_rollups_of_its_points(sessions: SessionFactory, running: JobRow, up_to_step: int) -> None:
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        copy = JobRepo(session).add(job(version))
        MetricRepo(session).upsert(running.id, build_points(range(1, 5001)))
        MetricRepo(session).copy(running.id, copy.id, up_to_step=up_to_step)
    assert check_rollups(sessions, copy.id) > 0


def test_a_resume_computes_the_best_values_again(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        for epoch, loss in enumerate((0.5, 0.7, 0.1), 1):
            MetricRepo(session).upsert(running.id, [MetricPoint("valid", "loss", 100 * epoch, epoch, loss)])
            MetricSummaryRepo(session).record_epochs(running.id, [(epoch, {"valid_loss": loss})])
        assert MetricSummaryRepo(session).list_summaries([running.id])[running.id] == {
            "valid_loss": MetricSummary(0.1, 0.1, 3)
        }
        MetricRepo(session).truncate(running.id, 250)
        row = session.scalars(select(MetricSummaryRow)).one()
        assert (row.best, row.best_epoch) == (0.5, 1)
        MetricRepo(session).truncate(running.id, 0)
        session.refresh(row)
        assert (row.best, row.best_epoch) == (None, None)
