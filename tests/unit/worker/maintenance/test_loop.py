"""Maintenance finds what was lost, and its rounds are idempotent."""

import os
import time
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core.db.clock import utc_now
from core.db.repos.attempts import AttemptRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.uploads import OpenUploadLimits, UploadRepo
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


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def wake_ups() -> list[str]:
    return []


@pytest.fixture
def loop(sessions: SessionFactory, storage: LocalStorage, queue: MemoryQueue, wake_ups: list[str]) -> MaintenanceLoop:
    return MaintenanceLoop(Settings(max_attempts=3), sessions, storage, queue, lambda: wake_ups.append("wake"))


@pytest.fixture
def queued(sessions: SessionFactory) -> JobRow:
    with transaction(sessions) as session:
        version = dataset_version(packed_key="datasets/v/t1")
        session.add(version)
        session.flush()
        return JobRepo(session).add(job(version))


def list_messages(sessions: SessionFactory) -> list[tuple[str, str]]:
    with transaction(sessions) as session:
        return [(row.topic, row.subject_id) for row in session.scalars(select(OutboxRow))]


def get_state(sessions: SessionFactory, job_id: str) -> JobState:
    with transaction(sessions) as session:
        return JobRepo(session).get(job_id).state


def lose_worker(sessions: SessionFactory, job_id: str, stop_request: StopRequest | None = None) -> None:
    """Let the lease of the job's worker expire."""
    with transaction(sessions) as session:
        assert AttemptRepo(session).claim(job_id, "w", -1.0, max_attempts=3) is not None
        if stop_request is not None:
            JobRepo(session).request_stop(job_id, stop_request)


def test_a_job_whose_worker_was_lost_is_queued_and_sent_once(
    loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, wake_ups: list[str]
) -> None:
    lose_worker(sessions, queued.id)
    loop.run_once()
    loop.run_once()
    assert get_state(sessions, queued.id) is JobState.QUEUED
    assert list_messages(sessions) == [("train", queued.id)]
    assert wake_ups == ["wake"]


def test_a_job_fails_at_the_retry_limit(loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow) -> None:
    for _ in range(3):
        lose_worker(sessions, queued.id)
        loop.run_once()
    with transaction(sessions) as session:
        failed = JobRepo(session).get(queued.id)
        assert failed.state is JobState.FAILED
        assert failed.failure is not None
        assert failed.failure["code"] == "worker_lost"


@pytest.mark.parametrize(
    ("stop_request", "state"), [(StopRequest.CANCEL, JobState.CANCELLED), (StopRequest.PAUSE, JobState.PAUSED)]
)
def test_a_stop_request_is_completed_when_the_worker_was_lost(
    loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, stop_request: StopRequest, state: JobState
) -> None:
    lose_worker(sessions, queued.id, stop_request)
    loop.run_once()
    assert get_state(sessions, queued.id) is state


def test_a_job_with_a_lease_is_not_changed(loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        AttemptRepo(session).claim(queued.id, "w", 60.0)
    loop.run_once()
    assert get_state(sessions, queued.id) is JobState.RUNNING
    assert list_messages(sessions) == []


def test_a_queued_job_whose_message_was_lost_is_sent_again(
    loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, queue: MemoryQueue
) -> None:
    loop.run_once()
    assert list_messages(sessions) == []  # its message may not have arrived yet
    with transaction(sessions) as session:
        session.execute(update(JobEventRow).values(at=utc_now() - timedelta(seconds=60)))
    queue.sent = [("train", "another")] * MAX_WAITING_MESSAGES
    loop.run_once()
    assert list_messages(sessions) == []  # the queue holds enough messages already
    queue.is_unavailable = True
    loop.run_once()
    assert list_messages(sessions) == [("train", queued.id)]


def test_an_import_without_a_lease_is_sent_again(loop: MaintenanceLoop, sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        version = DatasetRepo(session).add("digits", {"kind": "builtin", "options": {}}, source_key="s")
        DatasetRepo(session).claim(version.id, "w", lease_s=-1.0)
    loop.run_once()
    loop.run_once()
    assert list_messages(sessions) == [("import", version.id)]


def test_expired_keys_and_silent_workers_are_deleted(loop: MaintenanceLoop, sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        for name, age in (("old", timedelta(days=2)), ("new", timedelta(hours=1))):
            IdempotencyRepo(session).add(name, "hash", "job").created_at = utc_now() - age
            WorkerRepo(session).register(name, "host", 1, [], {})
            session.execute(update(WorkerRow).where(WorkerRow.id == name).values(beat_at=utc_now() - age / 2))
    loop.run_once()
    with transaction(sessions) as session:
        assert list(session.scalars(select(IdempotencyRow.key))) == ["new"]
        assert list(session.scalars(select(WorkerRow.id))) == ["new"]


def publish(storage: LocalStorage, key: str, age_s: float = 3600.0) -> str:
    folder = storage.create_scratch_folder()
    (folder / "file").write_text("content")
    storage.publish(folder, key)
    then = time.time() - age_s
    os.utime(storage.fetch_file(f"{key}/file"), (then, then))
    return f"{key}/file"


def test_only_old_files_without_a_row_are_deleted(
    loop: MaintenanceLoop, sessions: SessionFactory, storage: LocalStorage, queued: JobRow
) -> None:
    with transaction(sessions) as session:
        running = AttemptRepo(session).claim(queued.id, "w", 60.0)
        assert running is not None
        version = session.get_one(DatasetVersionRow, queued.dataset_version_id)
        version.packed_key = f"datasets/{version.id}/t1"
    referenced = [
        publish(storage, f"datasets/{version.id}/t1"),
        publish(storage, f"jobs/{queued.id}/t1/checkpoints/1"),  # of a running attempt, which may still write the row
        publish(storage, "jobs/gone/t1/bundle", age_s=1.0),  # too recent
    ]
    publish(storage, f"datasets/{version.id}/t0")
    publish(storage, f"jobs/{queued.id}/t0/checkpoints/1")
    publish(storage, "jobs/gone/t1/checkpoints/3")
    upload = storage.create_scratch_folder() / "upload"
    upload.write_text("zip")
    storage.publish_file(upload, "uploads/gone")
    os.utime(storage.fetch_file("uploads/gone"), (0, 0))
    loop.run_once()
    assert sorted(storage.list_keys("")) == sorted(referenced)


def test_every_live_worker_gets_a_canary_if_the_queue_is_empty(
    loop: MaintenanceLoop, sessions: SessionFactory, queue: MemoryQueue
) -> None:
    loop.run_once()
    assert queue.sent == []
    with transaction(sessions) as session:
        for name in ("one", "two"):
            WorkerRepo(session).register(name, "host", 1, [], {})
    loop.run_once()
    assert queue.sent == [("train", CANARY)] * 2
    loop.run_once()
    assert len(queue.sent) == 2
    queue.sent.clear()
    queue.is_unavailable = True
    loop.run_once()


def test_expired_uploads_and_their_bytes_are_deleted(
    loop: MaintenanceLoop, sessions: SessionFactory, storage: LocalStorage
) -> None:
    ids = []
    for expiry_s in (-1.0, 60.0):
        with transaction(sessions) as session:
            limits = OpenUploadLimits(10, 1000)
            row = UploadRepo(session).add(
                "", "pets", 10, options={}, metadata_header="", limits=limits, expiry_s=expiry_s
            )
        ids.append(row.id)
        part = storage.create_scratch_folder() / "part"
        part.write_text("bytes")
        storage.publish_file(part, f"upload-parts/{row.id}/1")
    loop.run_once(with_files=False)
    loop.run_once(with_files=False)
    assert list(storage.list_keys("")) == [f"upload-parts/{ids[1]}/1"]
    with transaction(sessions) as session:
        assert UploadRepo(session).find(ids[0]) is None
