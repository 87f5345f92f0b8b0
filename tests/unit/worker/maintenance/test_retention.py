"""Retention deletes what has expired and nothing refers to, in bounded batches."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine, func, select, update
from sqlalchemy.orm import Session

import worker.maintenance.retention as module
from core.db.clock import utc_now
from core.db.registry_tables import JobBundleRow
from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_grid import MetricGridRepo
from core.db.repos.metric_grid_queries import CurveName, CurveQuery, GridAxis
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.repos.models import ModelRepo
from core.db.repos.retention import RetentionRepo
from core.db.repos.system_reports import SystemReportRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ArtifactRow, CheckpointRow, JobEventRow, JobRow, MetricPointRow, ModelVersionRow
from core.events import EventType
from core.jobs import JobState
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job, job_spec
from tests.support.database_work import measure_work, update_planner_statistics
from tests.support.many_jobs import add_jobs
from worker.maintenance.orphaned_files import find_orphaned_files
from worker.maintenance.retention import REPORT, Retention

ALL = {"checkpoint_retention_days": 7.0, "artifact_retention_days": 7.0, "job_retention_days": 7.0}
FILES = {"weights.safetensors": {"sha256": "0" * 64, "size_bytes": 1}}
StartJob = Callable[..., str]


@pytest.fixture
def start_job(sessions: SessionFactory, storage: LocalStorage) -> StartJob:
    """Return a function that stores a running job with a checkpoint, an artifact, metrics and events."""

    def publish(key: str) -> str:
        folder = storage.create_scratch_folder() / "files"
        folder.mkdir()
        (folder / "weights.safetensors").write_text("1")
        storage.publish(folder, key)
        return key

    def start(**changes: Any) -> str:
        with transaction(sessions) as session:
            session.add(version := dataset_version())
            session.flush()
            job_id = JobRepo(session).add(job(version, **changes)).id
            assert AttemptRepo(session).claim(job_id, "w", 60.0) is not None
        keys = [publish(f"jobs/{job_id}/t1/{folder}") for folder in ("checkpoints/1", "artifacts/a", "bundle")]
        with transaction(sessions) as session:
            values: dict[str, Any] = {"epoch": 1, "step": 1, "metrics": {}, "tags": ("best",), "files": FILES}
            CheckpointRepo(session).add(job_id, 1, number=1, key=keys[0], **values)
            columns: dict[str, Any] = {"media_type": "text/csv", "sha256": "0" * 64, "size_bytes": 10}
            ArtifactRepo(session).put(job_id, 1, "a.csv", key=keys[1], **columns)
            MetricRepo(session).upsert(job_id, [MetricPoint("train", "loss", step, 1, 0.5) for step in range(20)])
        return job_id

    return start


@pytest.fixture
def end_job(sessions: SessionFactory) -> Callable[..., str]:
    """Return a function that ends a job a number of days ago."""

    def end(job_id: str, days: float = 8, *, with_model: bool = False) -> str:
        with transaction(sessions) as session:
            if with_model:
                columns: dict[str, Any] = {key: {} for key in ("bundle", "spec", "metrics", "dataset")}
                columns |= {"files": {}, "sha256": "a" * 64, "size_bytes": 1, "num_parameters": 1}
                version = ModelVersionRow(name="tiny", job_id=job_id, key=f"jobs/{job_id}/t1/bundle", **columns)
                registered = ModelRepo(session).register(version, 1)
                AttemptRepo(session).complete_with_model(job_id, 1, registered.version, {}, None)
            else:
                AttemptRepo(session).fail(
                    job_id, 1, {"code": "diverged", "message": "", "hint": "", "retryable": False}
                )
            finished_at = utc_now() - timedelta(days=days)
            session.execute(update(JobRow).where(JobRow.id == job_id).values(finished_at=finished_at))
        return job_id

    return end


@pytest.fixture
def run_round(sessions: SessionFactory, storage: LocalStorage) -> Callable[..., Retention]:
    """Return a function that runs a round of retention with settings."""

    def run(**settings: Any) -> Retention:
        retention = Retention(Settings(**settings), sessions, storage)
        retention.run_round()
        return retention

    return run


def count(sessions: SessionFactory, table: type[Any], job_id: str) -> int:
    with transaction(sessions, read_only=True) as session:
        column = JobRow.id if table is JobRow else table.job_id
        return session.scalars(select(func.count()).select_from(table).where(column == job_id)).one()


def test_by_default_nothing_expires(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    job_id = end_job(start_job(), days=10_000)
    run_round()
    assert [count(sessions, table, job_id) for table in (JobRow, CheckpointRow, ArtifactRow)] == [1, 1, 1]


@pytest.mark.parametrize(
    ("setting", "folder", "remaining"),
    [
        ("checkpoint_retention_days", "checkpoints", [1, 0, 1]),
        ("artifact_retention_days", "artifacts", [1, 1, 0]),
        ("job_retention_days", "", [0, 0, 0]),
    ],
)
def test_each_setting_deletes_its_rows_and_files(
    sessions: SessionFactory,
    storage: LocalStorage,
    start_job: StartJob,
    end_job: Callable[..., str],
    run_round: Callable[..., Retention],
    setting: str,
    folder: str,
    remaining: list[int],
) -> None:
    old, recent = end_job(start_job()), end_job(start_job(), days=6)
    before = set(storage.list_keys(f"jobs/{old}"))
    run_round(**{setting: 7})
    assert [count(sessions, table, old) for table in (JobRow, CheckpointRow, ArtifactRow)] == remaining
    assert [count(sessions, table, recent) for table in (JobRow, CheckpointRow, ArtifactRow)] == [1, 1, 1]
    bundle = f"jobs/{old}/t1/bundle/weights.safetensors"
    gone = {key for key in before if f"/{folder}" in key and key != bundle}
    assert gone
    assert set(storage.list_keys(f"jobs/{old}")) == before - gone
    if setting == "job_retention_days":
        assert [count(sessions, table, old) for table in (MetricPointRow, JobEventRow)] == [0, 0]
        assert find_orphaned_files(sessions, storage, -60.0) == [
            f"jobs/{job}/t1/bundle" for job in sorted((old, recent))
        ]


def test_unfinished_jobs_and_what_they_start_from_never_expire(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    source = end_job(start_job())
    with transaction(sessions) as session:
        spec = job_spec(resume_from={"job": source, "checkpoint": 1})
        session.add(version := dataset_version())
        session.flush()
        dependent = JobRepo(session).add(job(version, spec=spec)).id
    unfinished = {state: start_job() for state in (JobState.RUNNING, JobState.PAUSED, JobState.PAUSING)}
    with transaction(sessions) as session:
        for state, job_id in unfinished.items():
            values = {"state": state, "finished_at": utc_now() - timedelta(days=30)}
            session.execute(update(JobRow).where(JobRow.id == job_id).values(values))
    run_round(**ALL)
    for job_id in (source, *unfinished.values()):
        assert [count(sessions, table, job_id) for table in (JobRow, CheckpointRow, ArtifactRow)] == [1, 1, 1]
    with transaction(sessions) as session:
        JobRepo(session).kill(dependent)
    run_round(**ALL)
    assert count(sessions, JobRow, source) == 0


def test_the_job_of_a_registered_version_is_kept_until_the_version_is_deleted(
    sessions: SessionFactory,
    storage: LocalStorage,
    start_job: StartJob,
    end_job: Callable[..., str],
    run_round: Callable[..., Retention],
) -> None:
    job_id = end_job(start_job(), with_model=True)
    run_round(**ALL)
    assert [count(sessions, table, job_id) for table in (JobRow, CheckpointRow, ArtifactRow)] == [1, 0, 0]
    assert count(sessions, MetricPointRow, job_id) == 20
    assert find_orphaned_files(sessions, storage, -60.0) == []
    with transaction(sessions) as session:
        assert JobRepo(session).get(job_id).has_expired_checkpoints
        models = ModelRepo(session)
        models.delete_versions([models.lock("tiny", 1)])
    assert find_orphaned_files(sessions, storage, -60.0) == [f"jobs/{job_id}/t1/bundle"]
    run_round(**ALL)
    assert count(sessions, JobRow, job_id) == 0


def test_a_round_is_bounded_and_the_next_one_continues(
    sessions: SessionFactory,
    storage: LocalStorage,
    start_job: StartJob,
    end_job: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in (("MAX_JOBS", 2), ("ROWS_PER_TRANSACTION", 4), ("MAX_TRANSACTIONS", 5)):
        monkeypatch.setattr(module, name, value)
    jobs = [end_job(start_job(), days=30 - number) for number in range(3)]
    retention = Retention(Settings(job_retention_days=7), sessions, storage)
    retention.run_round()
    assert count(sessions, MetricPointRow, jobs[0]) == 0  # five transactions of four rows
    assert [count(sessions, JobRow, job_id) for job_id in jobs] == [1, 1, 1]
    num_rounds = 1
    while retention.has_more:
        retention.run_round()
        num_rounds += 1
    assert [count(sessions, JobRow, job_id) for job_id in jobs] == [0, 0, 0]
    assert num_rounds > 3


@pytest.mark.parametrize(
    ("setting", "table", "num_rows"),
    [("metric_retention_days", MetricPointRow, 20), ("event_retention_days", JobEventRow, 12)],
)
def test_the_deletion_of_rows_is_bounded_and_the_next_round_continues(
    sessions: SessionFactory,
    storage: LocalStorage,
    start_job: StartJob,
    end_job: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
    table: type[Any],
    num_rows: int,
) -> None:
    for name, value in (("ROWS_PER_TRANSACTION", 4), ("MAX_TRANSACTIONS", 2)):
        monkeypatch.setattr(module, name, value)
    jobs = [start_job() for _ in range(3)]
    for number, job_id in enumerate(jobs):
        with transaction(sessions) as session:
            EventRepo(session).append(job_id, [(EventType.LOG, {"message": str(line)}) for line in range(num_rows)])
        end_job(job_id, days=30 - number)
    retention = Retention(Settings.model_validate({setting: 7.0}), sessions, storage)
    counts = [[count(sessions, table, job_id) for job_id in jobs]]
    while len(counts) == 1 or retention.has_more:
        retention.run_round()
        counts.append([count(sessions, table, job_id) for job_id in jobs])
    assert counts[1] == [counts[0][0] - 8, *counts[0][1:]]  # two transactions of four rows
    assert [before - after for before, after in zip(counts[0], counts[-1], strict=True)] == [num_rows] * 3
    assert len(counts) > 5


def test_a_dry_run_only_reports(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    job_id, _ = end_job(start_job()), end_job(start_job(), with_model=True)
    run_round(**ALL | {"artifact_retention_days": 0}, retention_dry_run=True)
    assert [count(sessions, table, job_id) for table in (JobRow, CheckpointRow, ArtifactRow)] == [1, 1, 1]
    with transaction(sessions, read_only=True) as session:
        report = SystemReportRepo(session).find(REPORT)
        assert report is not None
        assert report.content == {
            "is_dry_run": True,
            "checkpoints": {"days": 7.0, "num_expired": 2, "expired_bytes": 2},
            **{
                kind: {"days": None, "num_expired": 0, "expired_bytes": 0}
                for kind in ("artifacts", "events", "metrics")
            },
            "jobs": {"days": 7.0, "num_expired": 1, "expired_bytes": 11},
        }


@pytest.mark.parametrize("setting", ALL)
def test_a_job_that_was_extended_and_ended_again_meanwhile_is_kept(
    sessions: SessionFactory,
    start_job: StartJob,
    end_job: Callable[..., str],
    run_round: Callable[..., Retention],
    monkeypatch: pytest.MonkeyPatch,
    setting: str,
) -> None:
    job_id = end_job(start_job())
    read = Retention._read

    def read_before_the_job_ends_again(self: Retention, find: Any) -> list[str]:
        found = read(self, find)
        with transaction(sessions) as session:
            session.execute(update(JobRow).values(finished_at=utc_now()))
        assert found == [job_id]
        return found

    monkeypatch.setattr(Retention, "_read", read_before_the_job_ends_again)
    run_round(**{setting: 7.0})
    tables = (JobRow, CheckpointRow, ArtifactRow, MetricPointRow)
    assert [count(sessions, table, job_id) for table in tables] == [1, 1, 1, 20]


def add_events(sessions: SessionFactory, job_id: str, num_epochs: int) -> None:
    with transaction(sessions) as session:
        for epoch in range(1, num_epochs + 1):
            EventRepo(session).append(job_id, [(EventType.PROGRESS, {"epoch": epoch})])
            EventRepo(session).append(job_id, [(EventType.EPOCH, {"epoch": epoch}), (EventType.LOG, {"message": "x"})])


def list_types(sessions: SessionFactory, job_id: str) -> list[EventType]:
    with transaction(sessions, read_only=True) as session:
        return [event.type for event in EventRepo(session).list_after(job_id, 0)]


def test_events_expire_except_for_state_changes_and_the_last_one(
    sessions: SessionFactory,
    start_job: StartJob,
    end_job: Callable[..., str],
    run_round: Callable[..., Retention],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "ROWS_PER_TRANSACTION", 2)
    old, new, running = start_job(), start_job(), start_job()
    for job_id in (old, new, running):
        add_events(sessions, job_id, 3)
    end_job(old)
    end_job(new, days=1)
    kept = [list_types(sessions, job_id) for job_id in (new, running)]
    assert not run_round(event_retention_days=7.0).has_more
    assert list_types(sessions, old) == [EventType.STATE, EventType.STATE, EventType.STATE, EventType.END]
    assert [list_types(sessions, job_id) for job_id in (new, running)] == kept
    assert len(kept[0]) > 6
    assert count(sessions, MetricPointRow, old) == 20
    with transaction(sessions) as session:
        EventRepo(session).append(old, [(EventType.LOG, {"message": "first"}), (EventType.LOG, {"message": "last"})])
        session.execute(update(JobRow).where(JobRow.id == old).values(has_expired_events=False))
    run_round(event_retention_days=7.0)
    assert list_types(sessions, old)[-2:] == [EventType.END, EventType.LOG]


def test_events_of_an_extension_expire_too(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    job_id = end_job(start_job(), with_model=True)
    run_round(event_retention_days=7.0)
    with transaction(sessions) as session:
        JobRepo(session).extend(job_id, job_spec())
        assert not session.get_one(JobRow, job_id).has_expired_events


def test_an_interrupted_deletion_of_points_is_continued_and_those_of_an_extension_expire_too(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    job_id = end_job(start_job(), with_model=True)
    with transaction(sessions) as session:
        assert RetentionRepo(session).delete_points(job_id, 7.0, 5) == 5
    assert count(sessions, MetricPointRow, job_id) == 15
    run_round(metric_retention_days=7.0)
    assert count(sessions, MetricPointRow, job_id) == 0
    with transaction(sessions, read_only=True) as session:
        assert RetentionRepo(session).find_point_jobs(7.0, 10) == []
    with transaction(sessions) as session:
        JobRepo(session).extend(job_id, job_spec())
        assert not session.get_one(JobRow, job_id).has_deleted_points


def read_curve(sessions: SessionFactory, job_id: str, **options: Any) -> list[int]:
    with transaction(sessions, read_only=True) as session:
        return [point.step for curve in MetricRepo(session).list_series(job_id, **options) for point in curve.points]


def read_totals(sessions: SessionFactory, job_id: str) -> tuple[int, float, float]:
    query = CurveQuery([job_id], [CurveName("train", "loss")], GridAxis.STEP, None, None, 10)
    with transaction(sessions, read_only=True) as session:
        (curve,) = MetricGridRepo(session).read_grid(query).curves
    return int(curve.num_points.sum()), float(np.nanmin(curve.lowest)), float(np.nanmax(curve.highest))


def test_curves_are_read_from_their_rollups_when_their_points_have_expired(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    job_id = start_job()
    with transaction(sessions) as session:
        MetricRepo(session).truncate(job_id, -1)
        points = [MetricPoint("train", "loss", step, 1, float((step * 37) % 101)) for step in range(130)]
        MetricRepo(session).upsert(job_id, [*points, MetricPoint("valid", "loss", 100, 1, 0.25)])
    end_job(job_id)
    totals = read_totals(sessions, job_id)
    assert len(read_curve(sessions, job_id)) == 131
    run_round(metric_retention_days=7.0)
    assert count(sessions, MetricPointRow, job_id) == 0
    assert read_totals(sessions, job_id) == totals == (130, 0.0, 100.0)
    steps = read_curve(sessions, job_id, split="train")
    assert {0, 63, 64, 127, 128, 129} < set(steps)
    assert len(steps) == 9  # up to four of a block: step 0 is the first and the lowest
    assert read_curve(sessions, job_id, split="train", since_step=64) == [step for step in steps if step > 64]
    assert len(read_curve(sessions, job_id, split="train", max_points=4)) <= 4
    assert read_curve(sessions, job_id, split="valid", names=["loss"]) == [100]
    with transaction(sessions) as session:  # a job that starts from a checkpoint of this one
        session.add(version := dataset_version())
        session.flush()
        copy = JobRepo(session).add(job(version)).id
        MetricRepo(session).copy(job_id, copy, up_to_step=127)
    assert read_curve(sessions, copy, split="train") == [step for step in steps if step <= 127]


def test_the_report_counts_jobs_with_expired_rows(
    sessions: SessionFactory, start_job: StartJob, end_job: Callable[..., str], run_round: Callable[..., Retention]
) -> None:
    end_job(start_job())
    run_round(event_retention_days=7.0, metric_retention_days=7.0, retention_dry_run=True)
    with transaction(sessions, read_only=True) as session:
        report = SystemReportRepo(session).find(REPORT)
    assert report is not None
    expected = {"days": 7.0, "num_expired": 1, "expired_bytes": 0}
    assert (report.content["events"], report.content["metrics"]) == (expected, expected)


def find_expired(session: Session) -> None:
    RetentionRepo(session).find_event_jobs(1.0, 50)
    RetentionRepo(session).find_point_jobs(1.0, 50)


def test_the_search_for_expired_rows_does_not_grow_with_the_number_of_handled_jobs(
    engine: Engine, sessions: SessionFactory
) -> None:
    work = []
    for numbers in (range(1000), range(1000, 10_000)):
        with transaction(sessions) as session:
            add_jobs(session, numbers)
            session.execute(update(JobRow).values(has_expired_events=True, has_deleted_points=True))
            newest = select(JobRow.id).order_by(JobRow.created_at.desc()).limit(20).scalar_subquery()
            session.execute(update(JobRow).where(JobRow.id.in_(newest)).values(has_expired_events=False))
        update_planner_statistics(engine)
        work.append(measure_work(sessions, find_expired))
    assert work[1] <= 2 * work[0]


def test_an_unregistered_network_expires_with_its_job(
    sessions: SessionFactory,
    storage: LocalStorage,
    start_job: StartJob,
    end_job: Callable[..., str],
    run_round: Callable[..., Retention],
) -> None:
    job_id = start_job()
    with transaction(sessions) as session:
        columns: dict[str, Any] = {key: {} for key in ("bundle", "metrics", "dataset", "files")}
        columns |= {"sha256": "a" * 64, "size_bytes": 1000, "num_parameters": 1}
        JobBundleRepo(session).put(JobBundleRow(job_id=job_id, token=1, key=f"jobs/{job_id}/t1/bundle", **columns))
    end_job(job_id)
    run_round(job_retention_days=7.0, retention_dry_run=True)
    with transaction(sessions, read_only=True) as session:
        report = SystemReportRepo(session).find(REPORT)
    assert report is not None
    assert report.content["jobs"] == {"days": 7.0, "num_expired": 1, "expired_bytes": 1011}
    assert find_orphaned_files(sessions, storage, -1.0) == []
    run_round(job_retention_days=7.0)
    assert [count(sessions, table, job_id) for table in (JobRow, JobBundleRow)] == [0, 0]
    assert list(storage.list_keys(f"jobs/{job_id}")) == []
