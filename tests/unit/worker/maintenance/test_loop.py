"""The sweep finds what was lost, and twice is the same as once."""

import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from core.db.clock import utc_now
from core.db.repos.attempts import AttemptRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, IdempotencyRow, JobEventRow, JobRow, OutboxRow, WorkerRow
from core.jobs import JobState, StopRequest
from core.queue import CANARY
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job
from tests.support.fakes import MemoryQueue
from worker.maintenance.loop import MAX_WAITING_MESSAGES, MaintenanceLoop
from worker.maintenance.orphaned_files import get_unit_key


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def kicks() -> list[str]:
    return []


@pytest.fixture
def sweep(sessions: SessionFactory, storage: LocalStorage, queue: MemoryQueue, kicks: list[str]) -> MaintenanceLoop:
    return MaintenanceLoop(Settings(max_attempts=3), sessions, storage, queue, lambda: kicks.append("kick"))


@pytest.fixture
def queued(sessions: SessionFactory) -> JobRow:
    with transaction(sessions) as session:
        version = dataset_version(packed_key="datasets/v/t1")
        session.add(version)
        session.flush()
        return JobRepo(session).add(job(version))


def messages(sessions: SessionFactory) -> list[tuple[str, str]]:
    with transaction(sessions) as session:
        return [(row.topic, row.subject_id) for row in session.scalars(select(OutboxRow))]


def state_of(sessions: SessionFactory, job_id: str) -> JobState:
    with transaction(sessions) as session:
        return JobRepo(session).get(job_id).state


def lose(sessions: SessionFactory, job_id: str, wish: StopRequest | None = None) -> None:
    """The job's worker is silent since longer than its lease."""
    with transaction(sessions) as session:
        assert AttemptRepo(session).claim(job_id, "w", -1.0, max_attempts=3) is not None
        if wish is not None:
            JobRepo(session).request_stop(job_id, wish)


def test_a_job_whose_worker_died_is_queued_again_and_sent_once(
    sweep: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, kicks: list[str]
) -> None:
    lose(sessions, queued.id)
    sweep.run_once()
    sweep.run_once()
    assert state_of(sessions, queued.id) is JobState.QUEUED
    assert messages(sessions) == [("train", queued.id)]
    assert kicks == ["kick"]


def test_at_the_cap_it_has_failed(sweep: MaintenanceLoop, sessions: SessionFactory, queued: JobRow) -> None:
    for _ in range(3):
        lose(sessions, queued.id)
        sweep.run_once()
    with transaction(sessions) as session:
        failed = JobRepo(session).get(queued.id)
        assert failed.state is JobState.FAILED
        assert failed.failure is not None
        assert failed.failure["code"] == "worker_lost"


@pytest.mark.parametrize(
    ("wish", "state"), [(StopRequest.CANCEL, JobState.CANCELLED), (StopRequest.PAUSE, JobState.PAUSED)]
)
def test_a_job_that_was_to_stop_has_stopped_with_its_worker(
    sweep: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, wish: StopRequest, state: JobState
) -> None:
    lose(sessions, queued.id, wish)
    sweep.run_once()
    assert state_of(sessions, queued.id) is state


def test_a_healthy_job_is_left_alone(sweep: MaintenanceLoop, sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        AttemptRepo(session).claim(queued.id, "w", 60.0)
    sweep.run_once()
    assert state_of(sessions, queued.id) is JobState.RUNNING
    assert messages(sessions) == []


def test_a_queued_job_whose_message_was_lost_is_sent_again(
    sweep: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, queue: MemoryQueue
) -> None:
    sweep.run_once()
    assert messages(sessions) == []  # its message may still be on the way
    with transaction(sessions) as session:
        session.execute(update(JobEventRow).values(at=utc_now() - timedelta(seconds=60)))
    queue.sent = [("train", "another")] * MAX_WAITING_MESSAGES
    sweep.run_once()
    assert messages(sessions) == []  # the queue is full of hints already
    queue.is_away = True
    sweep.run_once()
    assert messages(sessions) == [("train", queued.id)]


def test_an_import_that_nobody_holds_is_sent_again(sweep: MaintenanceLoop, sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        version = DatasetRepo(session).add("digits", {"kind": "builtin", "options": {}}, source_key="s")
        DatasetRepo(session).claim(version.id, "w", lease_s=-1.0)
    sweep.run_once()
    sweep.run_once()
    assert messages(sessions) == [("import", version.id)]


def test_old_keys_and_silent_workers_are_forgotten(sweep: MaintenanceLoop, sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        for name, age in (("old", timedelta(days=2)), ("new", timedelta(hours=1))):
            IdempotencyRepo(session).add(name, "hash", "job").created_at = utc_now() - age
            WorkerRepo(session).register(name, "host", 1, [], {})
            session.execute(update(WorkerRow).where(WorkerRow.id == name).values(beat_at=utc_now() - age / 2))
    sweep.run_once()
    with transaction(sessions) as session:
        assert list(session.scalars(select(IdempotencyRow.key))) == ["new"]
        assert list(session.scalars(select(WorkerRow.id))) == ["new"]


def publish(storage: LocalStorage, key: str, age_s: float = 3600.0) -> str:
    folder = storage.scratch()
    (folder / "file").write_text("content")
    storage.publish(folder, key)
    then = time.time() - age_s
    os.utime(storage.path(f"{key}/file"), (then, then))
    return f"{key}/file"


def test_only_old_files_that_nothing_refers_to_are_deleted(
    sweep: MaintenanceLoop, sessions: SessionFactory, storage: LocalStorage, queued: JobRow
) -> None:
    with transaction(sessions) as session:
        running = AttemptRepo(session).claim(queued.id, "w", 60.0)
        assert running is not None
        version = session.get_one(DatasetVersionRow, queued.dataset_version_id)
        version.packed_key = f"datasets/{version.id}/t1"
    wanted = [
        publish(storage, f"datasets/{version.id}/t1"),
        publish(storage, f"jobs/{queued.id}/t1/checkpoints/1"),  # of the attempt that runs: its row may come
        publish(storage, "jobs/gone/t1/bundle", age_s=1.0),  # young
    ]
    publish(storage, f"datasets/{version.id}/t0")
    publish(storage, f"jobs/{queued.id}/t0/checkpoints/1")
    publish(storage, "jobs/gone/t1/checkpoints/3")
    upload = storage.scratch() / "upload"
    upload.write_text("zip")
    storage.publish_file(upload, "uploads/gone")
    os.utime(storage.path("uploads/gone"), (0, 0))
    sweep.run_once()
    assert sorted(storage.keys("")) == sorted(wanted)


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("jobs/j/t1/checkpoints/3/weights.safetensors", "jobs/j/t1/checkpoints/3"),
        ("jobs/j/t1/bundle/bundle.json", "jobs/j/t1/bundle"),
        ("datasets/v/t2/train/images.npy", "datasets/v/t2"),
        ("uploads/v", "uploads/v"),
    ],
)
def test_files_are_deleted_by_what_was_published_together(file: str, unit: str) -> None:
    assert get_unit_key(file) == unit
    assert Path(unit) in [Path(file), *Path(file).parents]


def test_every_living_worker_gets_a_canary_unless_there_is_enough_to_take(
    sweep: MaintenanceLoop, sessions: SessionFactory, queue: MemoryQueue
) -> None:
    sweep.run_once()
    assert queue.sent == []
    with transaction(sessions) as session:
        for name in ("one", "two"):
            WorkerRepo(session).register(name, "host", 1, [], {})
    sweep.run_once()
    assert queue.sent == [("train", CANARY)] * 2
    sweep.run_once()
    assert len(queue.sent) == 2
    queue.sent.clear()
    queue.is_away = True
    sweep.run_once()
