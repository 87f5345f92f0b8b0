"""Rollups equal the summaries of the stored points, whatever is appended, replaced or truncated."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, select, update

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


def expire_points(sessions: SessionFactory, job_id: str) -> None:
    """Delete the points of a job as retention does."""
    with transaction(sessions) as session:
        session.execute(delete(MetricPointRow).where(MetricPointRow.job_id == job_id))
        session.execute(update(JobRow).where(JobRow.id == job_id).values(has_expired_points=True))


def list_points(sessions: SessionFactory, job_id: str) -> dict[int, list[MetricPoint]]:
    """Return the points that the rollups of the first curve have: {level: points}."""
    with transaction(sessions, read_only=True) as session:
        repo = MetricRollupRepo(session)
        rollups = {level: repo.list_rollups(job_id, *CURVES[0], level) for level in LEVELS}
    return {level: [point for rollup in rollups[level] for point in rollup.list_points()] for level in LEVELS}


def count_points(sessions: SessionFactory, job_id: str) -> list[int]:
    with transaction(sessions, read_only=True) as session:
        repo = MetricRollupRepo(session)
        return [sum(it.num_points for it in repo.list_rollups(job_id, *CURVES[0], level)) for level in LEVELS]


def is_kept(point: MetricPoint, cut: int, level: int) -> bool:
    """Return whether a point is before a cut, and in a fine block or outside of the coarse block that is cut."""
    return point.step <= cut and (level == LEVELS[0] or point.step // level != cut // level)


@pytest.mark.parametrize("cut", [50, 95, 127, 4096, 4150])
@pytest.mark.parametrize("change", ["truncate", "copy"])
def test_a_cut_keeps_the_points_that_the_rollups_of_deleted_points_have(
    sessions: SessionFactory, running: JobRow, change: str, cut: int
) -> None:
    with transaction(sessions) as session:
        MetricRepo(session).upsert(running.id, build_points(range(1, 4200)))
    before = list_points(sessions, running.id)
    expire_points(sessions, running.id)
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        target = running.id if change == "truncate" else JobRepo(session).add(job(version)).id
        if change == "truncate":
            MetricRepo(session).truncate(running.id, cut)
        else:
            MetricRepo(session).copy(running.id, target, up_to_step=cut)
    after = list_points(sessions, target)
    for level in LEVELS:
        steps = {point.step for point in after[level]}
        assert {point.step for point in before[level] if is_kept(point, cut, level)} <= steps
        assert max(steps) == max(point.step for point in before[LEVELS[0]] if point.step <= cut)
    assert count_points(sessions, target) == [cut, cut]


def test_a_part_of_the_points_and_the_rollups_of_the_others_are_cut_together(
    sessions: SessionFactory, running: JobRow
) -> None:
    """Retention deletes the points of a job in several transactions."""
    points = [MetricPoint("train", "loss", step, 1, float(step % 10), None, step) for step in range(64)]
    with transaction(sessions) as session:
        MetricRepo(session).upsert(running.id, points)
        session.execute(delete(MetricPointRow).where(MetricPointRow.step < 20))
        MetricRepo(session).truncate(running.id, 40)
    with transaction(sessions, read_only=True) as session:
        (rollup,) = MetricRollupRepo(session).list_rollups(running.id, "train", "loss", 64)
    assert (rollup.first, rollup.last) == (points[0], points[40])
    assert (rollup.lowest, rollup.highest) == (
        points[0]._replace(elapsed_ms=None),
        points[9]._replace(elapsed_ms=None),
    )


def test_points_of_an_extension_join_the_rollups_of_deleted_points(sessions: SessionFactory, running: JobRow) -> None:
    points = build_points(range(1, 121))
    with transaction(sessions) as session:
        MetricRepo(session).upsert(running.id, [point for point in points if point.step <= 100])
    expire_points(sessions, running.id)
    for _ in range(2):  # the second time, the points replace themselves
        with transaction(sessions) as session:
            MetricRepo(session).truncate(running.id, 100)
            MetricRepo(session).upsert(running.id, [point for point in points if point.step > 100])
            MetricRepo(session).upsert(running.id, [point for point in points if point.step > 110])
        with transaction(sessions, read_only=True) as session:
            for level in LEVELS:
                rollups = MetricRollupRepo(session).list_rollups(running.id, "train", "loss", level)
                assert rollups == [
                    summarize([p for p in points if p.split == "train" and p.step // level == bucket])
                    for bucket in range(len(rollups))
                ]


def test_the_points_of_a_rollup_have_their_times() -> None:
    point = MetricPoint("train", "loss", 1, 1, 0.5, None, 20)
    bare = point._replace(elapsed_ms=None)  # as it is stored for an extreme
    rollup = MetricRollup(1, 0, point, point, bare, bare, None)
    assert rollup.list_points() == [point]
