"""Orphaned files are found in a folder and in a bucket, also those that were published incompletely."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from core.db.clock import utc_now
from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.uploads import OpenUploadLimits, UploadRepo
from core.db.session import SessionFactory, transaction
from core.storage import LocalStorage, Storage, open_storage
from tests.support.builders import dataset_version, job
from tests.support.database_work import record_statements
from tests.support.s3 import S3Server
from worker.maintenance.orphaned_files import MAX_UNITS, find_orphaned_files, get_unit_key


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    url = f"file://{tmp_path / 'store'}"
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = server.new_url()
    store = open_storage(url, cache=tmp_path / "cache")
    yield store
    store.close()


def publish(store: Storage, key: str) -> str:
    folder = store.create_scratch_folder() / "files"
    folder.mkdir()
    (folder / "weights.safetensors").write_text(key)
    (folder / "snapshot.json").write_text("{}")
    store.publish(folder, key)
    return key


def test_files_without_a_row_and_a_running_attempt_are_orphaned(
    store: Storage, sqlite_sessions: SessionFactory
) -> None:
    with transaction(sqlite_sessions) as session:
        version = dataset_version()
        version.packed_key = f"datasets/{version.id}/t2"
        session.add(version)
        session.flush()
        ended, running = (JobRepo(session).add(job(version)).id for _ in range(2))
        for job_id in (ended, running):
            claimed = AttemptRepo(session).claim(job_id, "w", 60.0)
            assert claimed is not None
            assert claimed.token == 1
        key = f"jobs/{ended}/t1/checkpoints/1"
        files = {"weights.safetensors": {"sha256": "0" * 64, "size_bytes": 1}}
        checkpoint = {"epoch": 1, "step": 1, "metrics": {}, "tags": (), "key": key, "files": files}
        CheckpointRepo(session).add(ended, 1, number=1, **checkpoint)  # type: ignore[arg-type]
        columns = {"media_type": "text/csv", "sha256": "0" * 64, "size_bytes": 1}
        ArtifactRepo(session).put(ended, 1, "a.csv", key=f"jobs/{ended}/t1/artifacts/a", **columns)  # type: ignore[arg-type]
        AttemptRepo(session).fail(ended, 1, {"code": "diverged", "message": "", "hint": "", "retryable": False})

    referenced = [key, f"jobs/{running}/t1/checkpoints/1", f"datasets/{version.id}/t2"]
    referenced += [f"jobs/{ended}/t1/artifacts/a", f"jobs/{running}/t1/artifacts/a"]
    orphaned = [f"jobs/{ended}/t1/checkpoints/2", f"jobs/{running}/t0/bundle", "jobs/gone/t1/bundle"]
    orphaned += [f"datasets/{version.id}/t1", f"jobs/{ended}/t1/artifacts/b", f"jobs/{running}/t0/artifacts/a"]
    for unit in (*referenced, *orphaned):
        publish(store, unit)

    assert find_orphaned_files(sqlite_sessions, store, 3600.0) == []  # too recent: the row may not be written yet
    found = find_orphaned_files(sqlite_sessions, store, -3600.0)
    assert sorted(found) == sorted(orphaned)
    for unit in found:
        store.delete(unit)
    assert find_orphaned_files(sqlite_sessions, store, -3600.0) == []
    assert {file.rpartition("/")[0] for file in store.list_keys("")} == set(referenced)


def test_many_files_are_checked_with_few_statements(storage: LocalStorage, sqlite_sessions: SessionFactory) -> None:
    with transaction(sqlite_sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        job_id = JobRepo(session).add(job(version)).id
        AttemptRepo(session).claim(job_id, "w", 60.0)
    for number in range(MAX_UNITS + 10):
        publish(storage, f"jobs/{job_id}/t1/artifacts/{number}")
    orphaned = publish(storage, f"jobs/{job_id}/t0/artifacts/0")
    with record_statements(sqlite_sessions.kw["bind"]) as statements:
        assert find_orphaned_files(sqlite_sessions, storage, -60.0) == [orphaned]
    assert len(statements) < 30


@pytest.mark.parametrize(
    ("file", "unit"),
    [
        ("jobs/j/t1/checkpoints/3/weights.safetensors", "jobs/j/t1/checkpoints/3"),
        ("jobs/j/t1/bundle/bundle.json", "jobs/j/t1/bundle"),
        ("datasets/v/t2/train/images.npy", "datasets/v/t2"),
        ("uploads/v", "uploads/v"),
    ],
)
def test_the_unit_of_a_file_is_what_was_published_together(file: str, unit: str) -> None:
    assert get_unit_key(file) == unit
    assert Path(unit) in [Path(file), *Path(file).parents]


def test_parts_of_uploads_are_orphaned_unless_the_upload_is_open(
    store: Storage, sqlite_sessions: SessionFactory
) -> None:
    limits = OpenUploadLimits(10, 1000)
    with transaction(sqlite_sessions) as session:
        uploads = UploadRepo(session)
        options: Any = {"options": {}, "metadata_header": "", "limits": limits, "expiry_s": 60.0}
        unfinished, ended = (uploads.add("", "pets", 10, **options).id for _ in range(2))
        uploads.fail(ended, 0, {"slug": "x"}, expiry_s=60.0)
    for upload_id in (unfinished, ended, "0" * 32):
        for number in range(2):
            file = store.create_scratch_folder() / "part"
            file.write_text("bytes")
            store.publish_file(file, f"upload-parts/{upload_id}/{number}")
    orphaned = find_orphaned_files(sqlite_sessions, store, -1.0)
    assert sorted(orphaned) == sorted([f"upload-parts/{ended}", f"upload-parts/{'0' * 32}"])
    for unit in orphaned:
        store.delete(unit)
    assert list(store.list_keys("")) == [f"upload-parts/{unfinished}/{number}" for number in range(2)]


@pytest.mark.parametrize(("days_ago", "archive_days", "is_kept"), [(1, 2, True), (3, 2, False), (1, 0, False)])
def test_uploaded_files_are_kept_as_long_as_the_setting_says(
    store: Storage, sqlite_sessions: SessionFactory, days_ago: float, archive_days: float, is_kept: bool
) -> None:
    with transaction(sqlite_sessions) as session:
        version = dataset_version(finished_at=utc_now() - timedelta(days=days_ago))
        session.add(version)
    path = store.create_scratch_folder() / "archive"
    path.write_text("zip")
    store.publish_file(path, f"uploads/{version.id}")
    found = find_orphaned_files(sqlite_sessions, store, -3600.0, archive_days=archive_days)
    assert found == ([] if is_kept else [f"uploads/{version.id}"])
