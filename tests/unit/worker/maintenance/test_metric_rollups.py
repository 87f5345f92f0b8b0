"""Maintenance builds the rollups of jobs of earlier versions over several rounds."""

import pytest
from sqlalchemy import delete, func, select, update

from core.db.metric_rollup import MetricPoint
from core.db.metric_tables import MetricRollupRow
from core.db.repos import metric_backfill
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.builders import dataset_version, job
from tests.support.fakes import Clock
from worker.maintenance.metric_rollups import IDLE_S, MetricBackfill

NUM_JOBS = 3


@pytest.fixture
def ids(sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Three jobs of an earlier version; the last one has no points."""
    monkeypatch.setattr(metric_backfill, "MAX_CHUNK_POINTS", 5000)
    with transaction(sqlite_sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        found = [JobRepo(session).add(job(version)).id for _ in range(NUM_JOBS)]
        for job_id in found[:-1]:
            MetricRepo(session).upsert(job_id, [MetricPoint("train", "loss", step, 1, 0.5) for step in range(9000)])
        session.execute(update(JobRow).values(has_rollups=False))
        session.execute(delete(MetricRollupRow))
        return found


def count_complete(sessions: SessionFactory) -> int:
    with transaction(sessions, read_only=True) as session:
        return session.scalar(select(func.count()).where(JobRow.has_rollups)) or 0


class SlowClock(Clock):
    """A clock on which every look takes a second."""

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_all_jobs_are_built_in_one_round_if_there_is_time(
    sqlite_sessions: SessionFactory, clock: Clock, ids: list[str]
) -> None:
    backfill = MetricBackfill(sqlite_sessions, clock)
    backfill.run_round()
    assert count_complete(sqlite_sessions) == NUM_JOBS
    with transaction(sqlite_sessions, read_only=True) as session:
        assert session.scalar(select(func.count()).select_from(MetricRollupRow)) == 2 * (141 + 3)


def test_a_round_ends_in_time_and_the_next_one_continues(sqlite_sessions: SessionFactory, ids: list[str]) -> None:
    backfill = MetricBackfill(sqlite_sessions, SlowClock())
    progress = []
    for _ in range(8):
        backfill.run_round(2.5)
        progress.append(count_complete(sqlite_sessions))
    assert progress[0] < NUM_JOBS
    assert progress == sorted(progress)
    assert progress[-1] == NUM_JOBS


def test_complete_jobs_are_not_searched_in_every_round(
    sqlite_sessions: SessionFactory, clock: Clock, ids: list[str]
) -> None:
    backfill = MetricBackfill(sqlite_sessions, clock)
    backfill.run_round()
    with transaction(sqlite_sessions) as session:
        session.execute(update(JobRow).values(has_rollups=False))
    backfill.run_round()
    assert count_complete(sqlite_sessions) == 0
    clock.now += IDLE_S
    backfill.run_round()
    assert count_complete(sqlite_sessions) == NUM_JOBS
