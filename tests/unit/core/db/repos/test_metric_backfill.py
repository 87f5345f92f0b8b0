"""The rollups of jobs of earlier versions are built in parts, and only while the job does not run."""

import pytest
from sqlalchemy import delete, func, select, update

from core.db.metric_rollup import MetricPoint
from core.db.metric_tables import MetricRollupRow, MetricSummaryRow
from core.db.repos import metric_backfill
from core.db.repos.attempts import AttemptRepo
from core.db.repos.metric_backfill import IncompleteJob, MetricBackfillRepo
from core.db.repos.metric_rollups import MetricRollupRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.repos.metrics import MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow

NUM_POINTS = 13_000


@pytest.fixture
def legacy(sessions: SessionFactory, queued: JobRow) -> JobRow:
    """A job with points but without rollups."""
    points = [MetricPoint("valid", "loss", step, 1 + step // 99, 1 / step) for step in range(1, NUM_POINTS)]
    with transaction(sessions) as session:
        MetricRepo(session).upsert(queued.id, points)
        session.execute(update(JobRow).values(has_rollups=False, metrics={"valid_loss": 1.0, "train_loss": "NaN"}))
    return queued


def list_rollups(sessions: SessionFactory, job_id: str) -> list[object]:
    with transaction(sessions, read_only=True) as session:
        repo = MetricRollupRepo(session)
        return [repo.list_rollups(job_id, "valid", "loss", level) for level in (64, 4096)]


def build_part(sessions: SessionFactory, job: IncompleteJob, after_step: int) -> tuple[int, bool]:
    with transaction(sessions) as session:
        repo = MetricBackfillRepo(session)
        chunk = repo.read_chunk(job.id, "valid", "loss", after_step)
        assert repo.store_chunk(job, chunk)
        return chunk.points[-1].step, chunk.is_last


def test_parts_give_the_rollups_that_a_new_job_has(
    sessions: SessionFactory, legacy: JobRow, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list_rollups(sessions, legacy.id)
    with transaction(sessions) as session:
        session.execute(delete(MetricRollupRow))
        (job,) = MetricBackfillRepo(session).list_incomplete_jobs()
        assert MetricBackfillRepo(session).list_curves(job.id) == [("valid", "loss")]
    monkeypatch.setattr(metric_backfill, "MAX_CHUNK_POINTS", 5000)
    assert build_part(sessions, job, -1) == (4095, False)
    assert build_part(sessions, job, 4095) == (8191, False)
    assert build_part(sessions, job, 8191) == (NUM_POINTS - 1, True)
    with transaction(sessions) as session:
        assert MetricBackfillRepo(session).finish(job)
    assert list_rollups(sessions, legacy.id) == expected
    with transaction(sessions) as session:
        assert MetricRepo(session).has_rollups(legacy.id)
        assert MetricBackfillRepo(session).list_incomplete_jobs() == []
        assert MetricSummaryRepo(session).list_summaries([legacy.id])[legacy.id] == {
            "train_loss": MetricSummary(None, None, None),
            "valid_loss": MetricSummary(1.0, 1 / (NUM_POINTS - 1), 1 + (NUM_POINTS - 1) // 99),
        }


def test_a_build_ends_when_the_job_is_claimed(sessions: SessionFactory, legacy: JobRow) -> None:
    with transaction(sessions) as session:
        (job,) = MetricBackfillRepo(session).list_incomplete_jobs()
        chunk = MetricBackfillRepo(session).read_chunk(job.id, "valid", "loss", -1)
    with transaction(sessions) as session:
        claimed = AttemptRepo(session).claim(legacy.id, "w", 60.0)
        assert claimed is not None
        assert not MetricBackfillRepo(session).store_chunk(job, chunk)
        assert not MetricBackfillRepo(session).finish(job)
        assert MetricBackfillRepo(session).list_incomplete_jobs() == []
    with transaction(sessions) as session:  # the attempt neither reads nor writes rollups
        session.execute(delete(MetricRollupRow))
        MetricRepo(session).upsert(legacy.id, [MetricPoint("valid", "loss", NUM_POINTS + 5, 1, 0.5)])
        assert session.scalar(select(func.count()).select_from(MetricRollupRow)) == 0
        (series,) = MetricRepo(session).list_series(legacy.id, max_points=100)
        assert series.points[-1].step == NUM_POINTS + 5
        AttemptRepo(session).release(legacy.id, claimed.token, "test")
        assert not MetricBackfillRepo(session).finish(job)  # the token has changed


def test_a_resume_of_a_job_without_rollups_deletes_points_and_partial_rollups(
    sessions: SessionFactory, legacy: JobRow
) -> None:
    with transaction(sessions) as session:
        MetricRepo(session).truncate(legacy.id, 10)
        (series,) = MetricRepo(session).list_series(legacy.id)
        assert [point.step for point in series.points] == list(range(1, 11))
        assert session.scalar(select(func.count()).select_from(MetricRollupRow)) == 0
        assert session.scalar(select(func.count()).select_from(MetricSummaryRow)) == 0
