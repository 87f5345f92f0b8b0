"""Imports from claim to finish, in real processes: ready, failed, crashed, fenced."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import structlog

from core.datasets.packed import PackedDataset
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.job_lists import JobListRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.events import EventType
from core.jobs import DatasetState, JobState
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.builders import job
from tests.support.hostile_archives import hidden_claimed_size_tar
from tests.support.images import class_images, write_zip
from tests.support.processes import wait_for
from worker.importing import importer as importers
from worker.importing.importer import Importer
from worker.importing.lease import ImportLease

BUILTIN: dict[str, Any] = {"kind": "builtin", "options": {"num_samples": 20, "image_shape": [1, 4, 4]}}
GetVersion = Callable[..., DatasetVersionRow]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path, heartbeat_s=0.05, lease_s=60, max_unpacked_bytes=2**24)


@pytest.fixture
def importer(settings: Settings, sqlite_sessions: SessionFactory, storage: LocalStorage) -> Importer:
    return Importer(settings, sqlite_sessions, storage, owner="test")


@pytest.fixture
def add_version(sqlite_sessions: SessionFactory) -> Callable[..., str]:
    """Adds a version that waits for its import, with a job that waits for the version."""

    def store(source: dict[str, Any], name: str = "synthetic") -> str:
        with transaction(sqlite_sessions) as session:
            row = DatasetRepo(session).add(name, source)
            JobRepo(session).add(job(row))
            return row.id

    return store


@pytest.fixture
def add_upload(storage: LocalStorage, tmp_path: Path, add_version: Callable[..., str]) -> Callable[..., str]:
    def put(files: dict[str, bytes], **options: Any) -> str:
        storage.publish_file(write_zip(tmp_path / "upload.zip", files), "uploads/1")
        return add_version({"kind": "upload", "key": "uploads/1", "options": options}, "pets")

    return put


@pytest.fixture
def get_version(sqlite_sessions: SessionFactory) -> GetVersion:
    def read(version_id: str) -> DatasetVersionRow:
        with transaction(sqlite_sessions) as session:
            return DatasetRepo(session).get(version_id)

    return read


def list_jobs(sessions: SessionFactory) -> list[tuple[JobState, Any]]:
    with transaction(sessions) as session:
        return [(row.state, row.failure) for row in JobListRepo(session).list_page()[0]]


def list_log_lines(sessions: SessionFactory) -> list[tuple[str, str]]:
    """Return the level and the text of each line of the job's log."""
    with transaction(sessions) as session:
        (job_row,) = JobListRepo(session).list_page()[0]
        events = EventRepo(session).list_after(job_row.id, 0, types=[EventType.LOG])
        return [(event.payload["level"], event.payload["message"]) for event in events]


def list_messages(sessions: SessionFactory) -> list[str]:
    with transaction(sessions) as session:
        return [row.topic for row in OutboxRepo(session).list_oldest()]


def test_a_builtin_becomes_ready_and_its_jobs_are_queued(
    importer: Importer,
    add_version: Callable[..., str],
    get_version: GetVersion,
    storage: LocalStorage,
    sqlite_sessions: SessionFactory,
) -> None:
    version_id = add_version(BUILTIN)
    assert importer.run(version_id)
    row = get_version(version_id)
    assert (row.state, row.packed_key) == (DatasetState.READY, f"datasets/{version_id}/t1")
    assert row.meta is not None
    folder = storage.fetch(str(row.packed_key), {name: file["sha256"] for name, file in row.meta["files"].items()})
    assert PackedDataset.open(folder).meta.content_hash == row.content_hash
    assert storage.fetch_file(f"{row.packed_key}/preview.png").read_bytes()[:4] == b"\x89PNG"
    assert list_messages(sqlite_sessions) == ["train"]
    assert list_jobs(sqlite_sessions) == [(JobState.QUEUED, None)]
    (line,) = list_log_lines(sqlite_sessions)
    assert line == ("info", f"The dataset {row.name} was imported; the job waits for a worker.")
    assert not importer.run(version_id), "a second message does nothing"


def test_an_upload_becomes_ready_and_its_archive_is_deleted(
    importer: Importer, add_upload: Callable[..., str], get_version: GetVersion, storage: LocalStorage
) -> None:
    version_id = add_upload(class_images(2, 5), image_size="8")
    importer.run(version_id)
    row = get_version(version_id)
    assert row.state is DatasetState.READY
    assert row.meta is not None
    assert row.meta["image_shape"] == [3, 8, 8]
    assert row.report is not None
    assert row.report["splits"]["train"]["num_samples"] == 10
    assert all(key.startswith(f"datasets/{version_id}/t1/") for key in storage.list_keys(""))


@pytest.mark.parametrize(
    ("files", "code"),
    [
        (class_images(1, 5), "dataset_too_few_classes"),
        (class_images(2, 2) | {"../evil.png": b"x"}, "archive_unsafe_entry"),
        (class_images(2, 2) | {"class_0/bomb.png": b"\0" * 2**25}, "archive_too_large"),
        (class_images(2, 5) | {"class_0/bad.png": b"\x89PNG\r\n\x1a\n cut"}, "dataset_unreadable_pictures"),
    ],
)
def test_an_invalid_upload_fails_with_its_jobs_and_leaves_no_file(
    files: dict[str, bytes],
    code: str,
    importer: Importer,
    add_upload: Callable[..., str],
    get_version: GetVersion,
    storage: LocalStorage,
    sqlite_sessions: SessionFactory,
) -> None:
    version_id = add_upload(files)
    assert importer.run(version_id)
    row = get_version(version_id)
    assert row.state is DatasetState.FAILED
    assert row.failure is not None
    assert row.failure["code"] == code
    assert row.failure["hint"]
    assert list(storage.list_keys("")) == []
    [(state, failure)] = list_jobs(sqlite_sessions)
    assert (state, failure["code"], failure["dataset"]["code"]) == (JobState.FAILED, "dependency_failed", code)
    ((level, line),) = list_log_lines(sqlite_sessions)
    assert level == "error"
    assert line.startswith(f"Failed (dependency_failed): The dataset {row.name} could not be imported: ")
    assert "\n" not in line
    assert list_messages(sqlite_sessions) == []
    if code == "dataset_unreadable_pictures":
        assert row.report is not None
        assert row.report["unreadable"][0]["name"] == "class_0/bad.png"


def test_missing_files_of_a_builtin_fail_the_import(
    importer: Importer, add_version: Callable[..., str], get_version: GetVersion
) -> None:
    version_id = add_version({"kind": "builtin", "options": {}}, "mnist")
    importer.run(version_id)
    failure = get_version(version_id).failure
    assert failure is not None
    assert failure["code"] == "corrupt"
    assert "mnist/train-images-idx3-ubyte.gz" in failure["message"]


def replace_packer(monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    """Run another program instead of the packing process."""
    real = subprocess.Popen

    def popen(_command: list[str], **options: Any) -> Any:
        return real([sys.executable, "-c", program], **options)

    monkeypatch.setattr("worker.importing.packer.subprocess.Popen", popen)


@pytest.mark.parametrize("end", ["os.kill(os.getpid(), 11)", "os._exit(3)", "os.abort()"])
def test_a_crashed_decoder_fails_only_its_import(
    end: str,
    importer: Importer,
    add_version: Callable[..., str],
    get_version: GetVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_packer(monkeypatch, f"import os, sys; sys.stdin.read(); {end}")
    version_id = add_version(BUILTIN)
    assert importer.run(version_id)
    failure = get_version(version_id).failure
    assert failure is not None
    assert failure["code"] == "import_crashed"


def test_the_traceback_of_an_internal_fault_is_in_the_log_of_the_worker(
    importer: Importer,
    add_version: Callable[..., str],
    get_version: GetVersion,
    sqlite_sessions: SessionFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    code = """import json, pathlib, sys
request = json.loads(sys.stdin.read())
failure = {"code": "internal", "message": "KeyError: 'x'", "hint": "This is a bug."}
pathlib.Path(request["out"]).with_name("result.json").write_text(json.dumps({"failure": failure}))
sys.stderr.write("Traceback of the fault")"""
    replace_packer(monkeypatch, code)
    version_id = add_version(BUILTIN)
    with structlog.testing.capture_logs() as logged:
        assert importer.run(version_id)
    assert "Traceback of the fault" in [line.get("stderr") for line in logged]
    assert "Traceback" not in str(get_version(version_id).failure) + str(list_log_lines(sqlite_sessions))


def test_an_import_that_takes_too_long_fails(
    settings: Settings,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    add_version: Callable[..., str],
    get_version: GetVersion,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_packer(monkeypatch, "import time; time.sleep(60)")
    version_id = add_version(BUILTIN)
    limited = settings.model_copy(update={"max_import_s": 0.1})
    assert Importer(limited, sqlite_sessions, storage, owner="test").run(version_id)
    failure = get_version(version_id).failure
    assert failure is not None
    assert failure["code"] == "import_timeout"


def test_an_archive_that_claims_a_huge_size_fails_at_once(
    importer: Importer, storage: LocalStorage, add_version: Callable[..., str], get_version: GetVersion, tmp_path: Path
) -> None:
    (tmp_path / "upload").write_bytes(hidden_claimed_size_tar())
    storage.publish_file(tmp_path / "upload", "uploads/1")
    version_id = add_version({"kind": "upload", "key": "uploads/1", "options": {}}, "pets")
    assert importer.run(version_id)
    failure = get_version(version_id).failure
    assert failure is not None
    assert failure["code"] == "archive_too_large"


def test_an_import_that_was_taken_over_stops_and_changes_nothing(
    importer: Importer,
    add_version: Callable[..., str],
    get_version: GetVersion,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    pid_file = tmp_path / "pid"
    replace_packer(
        monkeypatch, f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    version_id = add_version(BUILTIN)

    def steal(*_: Any) -> bool:
        wait_for(lambda: pid_file.exists() and pid_file.read_text().isdigit(), "the packer")
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).claim(version_id, "thief", 60)
            DatasetRepo(session).renew_lease(version_id, 1, -60)
        with transaction(sqlite_sessions) as session:
            assert DatasetRepo(session).claim(version_id, "thief", 60)
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).renew_lease(version_id, 1, 60)  # what the real lease would do now
        return True

    monkeypatch.setattr(ImportLease, "_renew_lease", steal)
    assert not importer.run(version_id)
    row = get_version(version_id)
    assert (row.state, row.owner, row.token) == (DatasetState.IMPORTING, "thief", 2)
    assert list(storage.list_keys("")) == []
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), 0)


def test_files_of_a_fenced_import_are_deleted(
    importer: Importer,
    add_version: Callable[..., str],
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    version_id = add_version(BUILTIN)
    publish = storage.publish

    def publish_late(folder: Path, key: str) -> None:
        publish(folder, key)
        with transaction(sqlite_sessions) as session:
            DatasetRepo(session).renew_lease(version_id, 1, -60)
            assert DatasetRepo(session).claim(version_id, "thief", 60)

    monkeypatch.setattr(storage, "publish", publish_late)
    assert not importer.run(version_id)
    assert list(storage.list_keys("")) == []
    assert list_messages(sqlite_sessions) == []


def test_an_import_fails_at_the_retry_limit(
    importer: Importer, add_version: Callable[..., str], get_version: GetVersion, sqlite_sessions: SessionFactory
) -> None:
    version_id = add_version(BUILTIN)
    for _ in range(importers.MAX_ATTEMPTS):
        with transaction(sqlite_sessions) as session:
            assert DatasetRepo(session).claim(version_id, "dead", -1)
    assert importer.run(version_id)
    failure = get_version(version_id).failure
    assert failure is not None
    assert failure["code"] == "worker_lost"
