"""The usage of workers is the sum of the latest samples of their active jobs."""

from core.db.metric_rollup import USAGE_SPLIT, MetricPoint
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metrics import MetricRepo
from core.db.repos.usage import UsageRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from tests.support.builders import job


def test_the_latest_samples_of_active_jobs_are_summed(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        other, queued = (JobRepo(session).add(job(version)) for _ in range(2))
        assert AttemptRepo(session).claim(other.id, "w", 60.0) is not None
        for step, value in ((1, 10.0), (5000, 20.0)):
            for row in (running, other, queued):
                points = [MetricPoint(USAGE_SPLIT, "cpu_percent", step, 1, value)]
                MetricRepo(session).upsert(row.id, points)
        MetricRepo(session).upsert(other.id, [MetricPoint(USAGE_SPLIT, "memory_mib", 1, 1, 5.0)])
        assert UsageRepo(session).sum_by_worker() == {"w": {"cpu_percent": 40.0, "memory_mib": 5.0}}


def test_usage_is_not_a_metric(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        points = [MetricPoint(USAGE_SPLIT, "cpu_percent", 1, 1, 5.0), MetricPoint("train", "loss", 1, 1, 0.5)]
        MetricRepo(session).upsert(running.id, points)
        for max_points in (None, 100):
            assert [curve.split for curve in MetricRepo(session).list_series(running.id, max_points=max_points)] == [
                "train"
            ]
            (usage,) = MetricRepo(session).list_series(running.id, split=USAGE_SPLIT, max_points=max_points)
            assert usage.points == points[:1]
