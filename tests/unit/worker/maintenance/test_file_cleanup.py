"""The file cleanup deletes only old files without a row."""

import os
import time

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.settings import Settings
from core.storage import LocalStorage
from worker.maintenance.file_cleanup import FULL_CLEANUP_ROUNDS, FileCleanup


@pytest.fixture
def cleanup(sessions: SessionFactory, storage: LocalStorage) -> FileCleanup:
    return FileCleanup(Settings(), sessions, storage)


def publish(storage: LocalStorage, key: str, age_s: float = 3600.0) -> str:
    folder = storage.create_scratch_folder()
    (folder / "file").write_text("content")
    storage.publish(folder, key)
    then = time.time() - age_s
    os.utime(storage.fetch_file(f"{key}/file"), (then, then))
    return f"{key}/file"


def test_only_old_files_without_a_row_are_deleted(
    cleanup: FileCleanup, sessions: SessionFactory, storage: LocalStorage, queued: JobRow
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
    cleanup.run_once()
    assert sorted(storage.list_keys("")) == sorted(referenced)


def test_most_rounds_search_for_no_files(cleanup: FileCleanup, storage: LocalStorage) -> None:
    cleanup.run_once()
    publish(storage, "jobs/gone/t1/checkpoints/3")
    for _ in range(FULL_CLEANUP_ROUNDS - 1):
        cleanup.run_once()
    assert len(list(storage.list_keys(""))) == 1
    cleanup.run_once()
    assert list(storage.list_keys("")) == []
