"""Maintenance finds what was lost, and its rounds are idempotent."""

from datetime import timedelta

import pytest
from sqlalchemy import select, update

from core.db.clock import utc_now
from core.db.queue_tables import WorkerRow
from core.db.repos.datasets import DatasetRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.uploads import OpenUploadLimits, UploadRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import IdempotencyRow, JobRow
from core.queue import CANARY
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.fakes import MemoryQueue
from tests.support.outbox import list_messages
from worker.maintenance.loop import MAX_WAITING_MESSAGES, MaintenanceLoop


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def loop(sessions: SessionFactory, storage: LocalStorage, queue: MemoryQueue, wake_ups: list[str]) -> MaintenanceLoop:
    return MaintenanceLoop(Settings(max_attempts=3), sessions, storage, queue, lambda: wake_ups.append("wake"))


def test_a_queued_job_with_a_lost_message_is_sent_again(
    loop: MaintenanceLoop, sessions: SessionFactory, queued: JobRow, queue: MemoryQueue
) -> None:
    loop.run_once()
    assert list_messages(sessions) == []  # its message may not have arrived yet
    with transaction(sessions) as session:
        session.execute(update(JobRow).values(queued_at=utc_now() - timedelta(seconds=60)))
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
    loop.run_once()
    loop.run_once()
    assert list(storage.list_keys("")) == [f"upload-parts/{ids[1]}/1"]
    with transaction(sessions) as session:
        assert UploadRepo(session).find(ids[0]) is None
