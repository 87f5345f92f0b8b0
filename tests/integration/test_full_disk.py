"""Snapshots, uploads, the database and the cache on a full disk."""

import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import torch
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from app.services.uploads import save_upload
from core.db import schema
from core.db.repos.jobs import JobRepo
from core.db.session import is_database_unavailable, make_engine, make_session_factory, transaction
from core.errors import StorageFull
from core.jobs import JobState
from core.storage import LocalStorage
from core.storage.cache import Cache
from core.storage.files import compute_sha256
from tests.support.builders import dataset_version, job
from tests.support.small_disk import MIB, fill_disk
from tests.support.trainer import TrainerProcess, build_start
from tests.support.training import build_spec as spec_of
from tests.support.training import pack
from worker.engine import snapshot
from worker.protocol import RunFailed
from worker.trainer.error_classification import classify_error


@pytest.fixture
def storage(disk: Path) -> Iterator[LocalStorage]:
    """A storage on the small disk."""
    storage = LocalStorage.open_folder(str(disk / "store"))
    yield storage
    storage.close()


def test_the_trainer_writes_no_snapshot_that_would_fill_the_disk(disk: Path, tmp_path: Path) -> None:
    pack(tmp_path / "packed")
    large = spec_of(architecture={"name": "mlp", "hidden": [2048, 512]})  # its snapshots are 14 MiB large
    fill_disk(disk, free_bytes=20 * MIB)  # a snapshot fits, but leaves too little for other processes
    process = TrainerProcess()
    try:
        process.send(build_start(large, tmp_path / "packed", disk / "work"))
        assert process.receive(RunFailed).code == "disk_full"
    finally:
        process.close()
    files = [path.name for path in (disk / "work").rglob("*") if path.is_file()]
    assert set(files) <= {"learning_curve.png"}


def test_a_snapshot_that_fills_the_disk_leaves_no_file(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network = nn.Linear(1024, 1024)
    # another process takes the space after the check
    monkeypatch.setattr(snapshot, "_check_free_space", lambda folder, capture: None)
    snapshot.write_snapshot(disk / "first", network, {}, {})
    fill_disk(disk, free_bytes=MIB)
    with pytest.raises(OSError, match="No space") as caught:
        snapshot.write_snapshot(disk / "second", network, {}, {})
    assert classify_error(caught.value, None).code == "disk_full"
    assert sorted(path.name for path in disk.iterdir()) == ["ballast", "first"]
    snapshot.restore_snapshot(disk / "first", network, {}, torch.device("cpu"))


async def test_an_upload_that_does_not_fit_is_rejected_and_its_space_freed(disk: Path, storage: LocalStorage) -> None:
    async def stream_endlessly() -> AsyncIterator[bytes]:
        while True:
            yield bytes(MIB)

    before = shutil.disk_usage(disk).free
    with pytest.raises(StorageFull):
        async with save_upload(storage, stream_endlessly()):
            pass
    assert shutil.disk_usage(disk).free > before - MIB


def test_a_database_on_a_full_disk_can_be_read_and_is_unavailable_for_writing(disk: Path) -> None:
    url = f"sqlite:///{disk / 'candela.db'}"
    schema.upgrade_schema(url)
    engine = make_engine(url)
    sessions = make_session_factory(engine)
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        queued = JobRepo(session).add(job(version))
    ballast = fill_disk(disk, free_bytes=0)
    with pytest.raises(SQLAlchemyError) as caught:
        for _ in range(1000):  # the database may have some free pages
            with transaction(sessions) as session:
                JobRepo(session).add(job(version))
    assert is_database_unavailable(caught.value)
    with transaction(sessions, read_only=True) as session:
        assert JobRepo(session).get(queued.id).state is JobState.QUEUED
    ballast.unlink()
    with transaction(sessions) as session:
        JobRepo(session).add(job(version))
    engine.dispose()


def test_cached_files_unused_for_long_are_deleted_for_new_ones(disk: Path, tmp_path: Path) -> None:
    now = [1_000_000.0]
    cache = Cache(disk / "cache", 2**40, clock=lambda: now[0])
    contents = {name: name.encode() * (25 * MIB) for name in "abc"}
    hashes = {}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        hashes[name] = compute_sha256(tmp_path / name)

    def download(name: str, path: Path) -> None:
        path.write_bytes(contents[name])

    first = cache.get_folder({"a": hashes["a"]}, download)
    second = cache.get_folder({"b": hashes["b"]}, download)
    with pytest.raises(StorageFull):
        cache.get_folder({"c": hashes["c"]}, download)
    assert (first.exists(), second.exists()) == (True, True)
    now[0] += 3600.0
    assert cache.get_folder({"b": hashes["b"]}, download) == second
    third = cache.get_folder({"c": hashes["c"]}, download)
    assert (first.exists(), second.exists(), third.exists()) == (False, True, True)
    assert [path.name for path in (disk / "cache").glob(".part-*")] == []
