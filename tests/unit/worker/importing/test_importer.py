"""An import from claim to finish, in real processes: ready, failed, crashed, fenced."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.datasets.packed import Packed
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState, JobState
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.builders import job
from tests.support.images import classes, zip_of
from tests.support.processes import wait_for
from worker.importing import importer as importers
from worker.importing.importer import Importer
from worker.importing.process import PackRequest, import_dataset

BUILTIN: dict[str, Any] = {"kind": "builtin", "options": {"num_samples": 20, "image_shape": [1, 4, 4]}}
Import = Callable[..., DatasetVersionRow]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, heartbeat_s=0.05, lease_s=60, max_unpacked_bytes=2**24)


@pytest.fixture
def importer(settings: Settings, sqlite_sessions: SessionFactory, storage: LocalStorage) -> Importer:
    return Importer(settings, sqlite_sessions, storage, owner="test")


@pytest.fixture
def stored(sqlite_sessions: SessionFactory) -> Callable[..., str]:
    """A version that is to be imported, with a job that waits for it."""

    def store(source: dict[str, Any], name: str = "synthetic") -> str:
        with transaction(sqlite_sessions) as session:
            row = DatasetRepo(session).add(name, source)
            JobRepo(session).add(job(row))
            return row.id

    return store


@pytest.fixture
def upload(storage: LocalStorage, tmp_path: Path, stored: Callable[..., str]) -> Callable[..., str]:
    def put(files: dict[str, bytes], **options: Any) -> str:
        storage.publish_file(zip_of(tmp_path / "upload.zip", files), "uploads/1")
        return stored({"kind": "upload", "key": "uploads/1", "options": options}, "pets")

    return put


@pytest.fixture
def look(sqlite_sessions: SessionFactory) -> Import:
    def get(version_id: str) -> DatasetVersionRow:
        with transaction(sqlite_sessions) as session:
            return DatasetRepo(session).get(version_id)

    return get


def waiting_jobs(sessions: SessionFactory) -> list[tuple[JobState, Any]]:
    with transaction(sessions) as session:
        return [(row.state, row.failure) for row in JobRepo(session).page()[0]]


def messages(sessions: SessionFactory) -> list[str]:
    with transaction(sessions) as session:
        return [row.topic for row in OutboxRepo(session).oldest()]


def test_a_builtin_becomes_ready_and_its_jobs_are_sent(
    importer: Importer, stored: Callable[..., str], look: Import, storage: LocalStorage, sqlite_sessions: SessionFactory
) -> None:
    version_id = stored(BUILTIN)
    assert importer.run(version_id)
    row = look(version_id)
    assert (row.state, row.packed_key) == (DatasetState.READY, f"datasets/{version_id}/t1")
    assert row.meta is not None
    folder = storage.fetch(str(row.packed_key), {name: file["sha256"] for name, file in row.meta["files"].items()})
    assert Packed.open(folder).meta.content_hash == row.content_hash
    assert storage.path(f"{row.packed_key}/preview.png").read_bytes()[:4] == b"\x89PNG"
    assert messages(sqlite_sessions) == ["train"]
    assert waiting_jobs(sqlite_sessions) == [(JobState.QUEUED, None)]
    assert not importer.run(version_id), "a second message does nothing"


def test_an_upload_becomes_ready_and_its_archive_goes(
    importer: Importer, upload: Callable[..., str], look: Import, storage: LocalStorage
) -> None:
    version_id = upload(classes(2, 5), image_size="8")
    importer.run(version_id)
    row = look(version_id)
    assert row.state is DatasetState.READY
    assert row.meta is not None
    assert row.meta["image_shape"] == [3, 8, 8]
    assert row.report is not None
    assert row.report["splits"]["train"]["num_samples"] == 10
    assert all(key.startswith(f"datasets/{version_id}/t1/") for key in storage.keys(""))


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (classes(1, 5), "dataset_too_few_classes"),
        (classes(2, 2) | {"../evil.png": b"x"}, "archive_unsafe_entry"),
        (classes(2, 2) | {"class_0/bomb.png": b"\0" * 2**25}, "archive_too_large"),
        (classes(2, 5) | {"class_0/bad.png": b"\x89PNG\r\n\x1a\n cut"}, "dataset_unreadable_pictures"),
    ],
)
def test_a_bad_upload_fails_with_its_jobs_and_leaves_nothing(
    files: dict[str, bytes],
    code: str,
    importer: Importer,
    upload: Callable[..., str],
    look: Import,
    storage: LocalStorage,
    sqlite_sessions: SessionFactory,
) -> None:
    version_id = upload(files)
    assert importer.run(version_id)
    row = look(version_id)
    assert row.state is DatasetState.FAILED
    assert row.failure is not None
    assert row.failure["code"] == code
    assert row.failure["hint"]
    assert list(storage.keys("")) == []
    [(state, failure)] = waiting_jobs(sqlite_sessions)
    assert (state, failure["code"], failure["dataset"]["code"]) == (JobState.FAILED, "dependency_failed", code)
    assert messages(sqlite_sessions) == []
    if code == "dataset_unreadable_pictures":
        assert row.report is not None
        assert row.report["unreadable"][0]["name"] == "class_0/bad.png"


def test_missing_files_of_a_builtin_fail(importer: Importer, stored: Callable[..., str], look: Import) -> None:
    version_id = stored({"kind": "builtin", "options": {}}, "mnist")
    importer.run(version_id)
    failure = look(version_id).failure
    assert failure is not None
    assert failure["code"] == "corrupt"
    assert "mnist/train-images-idx3-ubyte.gz" in failure["message"]


def run_instead(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Let another program take the packer's place."""
    real = subprocess.Popen

    def popen(_command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", program], **options)

    monkeypatch.setattr("worker.importing.importer.subprocess.Popen", popen)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "os._exit(3)", "os.abort()"])
def test_a_crash_of_a_decoder_fails_the_import_alone(
    end: str, importer: Importer, stored: Callable[..., str], look: Import, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_instead(monkeypatch, f"import os, sys; sys.stdin.read(); {end}")
    version_id = stored(BUILTIN)
    assert importer.run(version_id)
    failure = look(version_id).failure
    assert failure is not None
    assert failure["code"] == "import_crashed"


def test_an_import_that_was_taken_over_stops_and_changes_nothing(
    importer: Importer,
    stored: Callable[..., str],
    look: Import,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    run_instead(monkeypatch, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)")
    version_id = stored(BUILTIN)

    def steal(*_: Any) -> bool:
        wait_for(lambda: pid_file.exists() and pid_file.read_text().isdigit(), "the packer")
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).claim(version_id, "thief", 60)
            DatasetRepo(session).renew_lease(version_id, 1, -60)
        with transaction(sqlite_sessions) as session:
            assert DatasetRepo(session).claim(version_id, "thief", 60)
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).renew_lease(version_id, 1, 60)  # what the real one would do now
        return True

    monkeypatch.setattr(importer, "_beat", steal)
    assert not importer.run(version_id)
    row = look(version_id)
    assert (row.state, row.owner, row.token) == (DatasetState.IMPORTING, "thief", 2)
    assert list(storage.keys("")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_files_of_a_fenced_finish_are_taken_back(
    importer: Importer,
    stored: Callable[..., str],
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version_id = stored(BUILTIN)
    publish = storage.publish

    def publish_late(folder: Path, key: str) -> None:
        publish(folder, key)
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).renew_lease(version_id, 1, -60)
            assert DatasetRepo(session).claim(version_id, "thief", 60)

    monkeypatch.setattr(storage, "publish", publish_late)
    assert not importer.run(version_id)
    assert list(storage.keys("")) == []
    assert messages(sqlite_sessions) == []


def test_after_so_many_dead_workers_an_import_fails(
    importer: Importer, stored: Callable[..., str], look: Import, sqlite_sessions: SessionFactory
) -> None:
    version_id = stored(BUILTIN)
    for _ in range(importers.MAX_ATTEMPTS):
        with transaction(sqlite_sessions) as session:
            assert DatasetRepo(session).claim(version_id, "dead", -1)
    assert importer.run(version_id)
    failure = look(version_id).failure
    assert failure is not None
    assert failure["code"] == "worker_lost"


def test_a_full_disk_and_wrong_options_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def request(**changes: Any) -> PackRequest:
        values = {"out": tmp_path / "out", "options": {}, "name": "digits"}
        return PackRequest(**values | changes)

    wrong = import_dataset(request(options={"colour": 1})).failure
    assert wrong is not None
    assert wrong.code == "invalid_options"

    def full(*_: Any, **__: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("worker.importing.process.pack_builtin", full)
    failure = import_dataset(request()).failure
    assert failure is not None
    assert failure.code == "disk_full"
