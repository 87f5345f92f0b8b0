"""A disk that is full: old checkpoints make room, else the job fails whole; what is stored stays whole."""

import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from app.services.uploads import save_upload
from core.db import schema
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, is_unavailable, make_engine, make_sessions, transaction
from core.db.tables import CheckpointRow, JobRow
from core.errors import StorageFull
from core.jobs import JobState
from core.storage import LocalStorage
from core.storage.cache import Cache
from core.storage.files import sha256_of
from tests.support.builders import dataset_version, job
from tests.support.trainer import TrainerProcess, start
from tests.support.training import job as spec_of
from tests.support.training import pack
from worker.engine import snapshot
from worker.protocol import Failed
from worker.trainer.error_classification import classify

MIB = 2**20


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def storage(disk: Path) -> Iterator[LocalStorage]:
    storage = LocalStorage.at(str(disk / "store"))
    yield storage
    storage.close()


def fill(disk: Path, *, but: int) -> Path:
    """Write a file that leaves so many bytes."""
    ballast = disk / "ballast"
    size = shutil.disk_usage(disk).free - but
    with ballast.open("wb") as file:
        for _ in range(size // MIB):
            file.write(bytes(MIB))
        file.write(bytes(size % MIB))
    return ballast


@pytest.fixture
def look(sqlite_sessions: SessionFactory, queued: JobRow) -> Any:
    def look() -> JobRow:
        with transaction(sqlite_sessions, read_only=True) as session:
            return JobRepo(session).get(queued.id)

    return look


def checkpoints(sessions: SessionFactory, storage: LocalStorage, job_id: str) -> list[CheckpointRow]:
    """The job's checkpoints; all can be loaded, and there are no other files of the job but its bundle's."""
    with transaction(sessions) as session:
        rows = CheckpointRepo(session).all(job_id)
    for row in rows:
        storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})
    files = {f"{row.key}/{name}" for row in rows for name in row.files}
    assert {key for key in storage.keys("jobs") if "bundle" not in key} == files
    return rows


def test_where_space_is_short_fewer_checkpoints_are_kept(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    supervise("hoard 9 9 9 9 9").run(look().id)
    assert (look().state, look().attempt) == (JobState.SUCCEEDED, 1)
    assert [row.step for row in checkpoints(sqlite_sessions, storage, look().id)] == [5]


def test_older_checkpoints_make_room_for_a_second_try(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any
) -> None:
    supervisor = supervise("hoard 9 9 50")
    supervisor.run(look().id)
    assert (look().state, look().lost_attempts) == (JobState.QUEUED, 1)
    assert [row.step for row in checkpoints(sqlite_sessions, storage, look().id)] == [2]
    supervisor.run(look().id)
    assert look().state is JobState.SUCCEEDED
    assert look().runtime["resumed_from_step"] == 2
    assert [row.step for row in checkpoints(sqlite_sessions, storage, look().id)] == [3]


def test_where_nothing_can_make_room_the_job_fails_and_keeps_its_checkpoint(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, look: Any, disk: Path
) -> None:
    supervise("hoard 8 16 24 60").run(look().id)
    failure = look().failure
    assert (look().state, failure["code"], failure["retryable"]) == (JobState.FAILED, "disk_full", True)
    assert [row.step for row in checkpoints(sqlite_sessions, storage, look().id)] == [3]
    assert shutil.disk_usage(disk).free > 38 * MIB  # nothing of the fourth is left


def test_a_job_does_not_begin_where_there_is_no_room(supervise: Any, look: Any, disk: Path) -> None:
    ballast = fill(disk, but=20 * MIB)
    supervise("succeed").run(look().id)
    failure = look().failure
    assert (look().state, failure["code"]) == (JobState.FAILED, "disk_full")
    assert failure["free_bytes"] <= 20 * MIB < failure["needed_bytes"]
    ballast.unlink()


def test_the_trainer_writes_no_snapshot_that_would_fill_the_disk(disk: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed")
    large = spec_of(architecture={"name": "mlp", "hidden": [2048, 512]})  # its snapshots have 14 MiB
    fill(disk, but=20 * MIB)  # it would fit, and leave nothing to whoever else writes here
    process = TrainerProcess()
    try:
        process.tell(start(large, tmp_path / "packed", disk / "work"))
        assert process.hear(Failed).code == "disk_full"
    finally:
        process.close()
    assert [path for path in (disk / "work").rglob("*") if path.is_file()] == []


def test_a_snapshot_that_fills_the_disk_all_the_same_leaves_nothing(
    disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = nn.Linear(1024, 1024)
    monkeypatch.setattr(snapshot, "_need_room", lambda folder, frozen: None)  # somebody else was quicker
    snapshot.write(disk / "first", network, {}, {})
    fill(disk, but=MIB)
    with pytest.raises(OSError, match="No space") as told:
        snapshot.write(disk / "second", network, {}, {})
    assert classify(told.value, None).code == "disk_full"
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "first"]
    snapshot.restore(disk / "first", network, {}, torch.device("cpu"))


async def test_an_upload_that_does_not_fit_is_refused_and_its_space_is_free_again(
    disk: Path, storage: LocalStorage
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    before = shutil.disk_usage(disk).free
    with pytest.raises(StorageFull):
        async with save_upload(storage, endless()):
            pass
    assert shutil.disk_usage(disk).free > before - MIB


def test_a_database_on_a_full_disk_can_be_read_and_is_unavailable_for_writing(disk: Path) -> None:
    url = f"sqlite:///{disk / 'candela.db'}"
    schema.upgrade(url)
    engine = make_engine(url)
    sessions = make_sessions(engine)
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        queued = JobRepo(session).add(job(version))
    ballast = fill(disk, but=0)
    with pytest.raises(SQLAlchemyError) as told:
        for _ in range(1000):  # it may have some pages left
            with transaction(sessions) as session:
                JobRepo(session).add(job(version))
    assert is_unavailable(told.value)
    with transaction(sessions, read_only=True) as session:
        assert JobRepo(session).get(queued.id).state is JobState.QUEUED
    ballast.unlink()
    with transaction(sessions) as session:
        JobRepo(session).add(job(version))
    engine.dispose()


def test_copies_unused_for_long_make_room_for_new_ones(disk: Path, tmp_path: Path) -> None:
    now = [1_000_000.0]
    cache = Cache(disk / "cache", 2**40, clock=lambda: now[0])
    contents = {name: name.encode() * (25 * MIB) for name in "abc"}
    hashes = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        hashes[name] = sha256_of(tmp_path / name)

    def download(name: str, path: Path) -> None:
        path.write_bytes(contents[name])

    first = cache.folder({"a": hashes["a"]}, download)
    second = cache.folder({"b": hashes["b"]}, download)
    with pytest.raises(StorageFull):
        cache.folder({"c": hashes["c"]}, download)
    assert (first.exists(), second.exists()) == (True, True)
    now[0] += 3600.0
    assert cache.folder({"b": hashes["b"]}, download) == second
    third = cache.folder({"c": hashes["c"]}, download)
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)
    assert [path.name for path in (disk / "cache").glob(".part-*")] == []
