"""Every storage backend stores, verifies and deletes files."""

import errno
import hashlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import obstore
import pytest
from obstore.store import S3Store

from core.errors import ConfigurationError, Conflict, CorruptFile, NotFound, NotReady, StorageFull, Unavailable
from core.storage import LocalStorage, Storage, open_storage, require_storage
from core.storage.files import compute_sha256
from tests.support.moto import MotoServer
from tests.support.processes import end
from tests.support.s3 import S3Server

BACKENDS = [pytest.param("file"), *(pytest.param(name, marks=pytest.mark.services) for name in ("s3", "moto"))]


@pytest.fixture(params=BACKENDS)
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "file":
        return f"file://{tmp_path / 'store'}"
    server: S3Server | MotoServer = request.getfixturevalue(request.param)
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    return server.new_url()


@pytest.fixture
def store(url: str, tmp_path: Path) -> Iterator[Storage]:
    store = open_storage(url, cache=tmp_path / "cache")
    yield store
    store.close()


def change_file(url: str, key: str, change: Callable[[bytes], bytes | None]) -> None:
    """Change or remove a published file without the storage."""
    if url.startswith("file://"):
        path = Path(url.removeprefix("file://")) / key
        content = change(path.read_bytes())
        path.unlink() if content is None else path.write_bytes(content)
        return
    bucket = S3Store.from_url(url, client_options={"allow_http": True})
    unit, _, name = key.rpartition("/")
    (object_path,) = [
        meta["path"] for page in obstore.list(bucket, unit) for meta in page if meta["path"].endswith(f"/{name}")
    ]
    content = change(bytes(obstore.get(bucket, object_path).bytes()))
    obstore.delete(bucket, object_path) if content is None else obstore.put(bucket, object_path, content)


def create_folder(store: Storage, **files: str) -> Path:
    """Create a folder with files to publish."""
    path = store.create_scratch_folder()
    for name, content in files.items():
        (path / name).write_text(content)
    return path


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_published_folder_can_be_fetched(store: Storage) -> None:
    source = create_folder(store, a="A", b="B")
    store.publish(source, "jobs/1/t1/bundle")
    fetched = store.fetch("jobs/1/t1/bundle", {"a": sha256("A"), "b": sha256("B")})
    assert (fetched / "a").read_text() == "A"
    assert not source.exists()
    assert list(store.list_keys("jobs")) == ["jobs/1/t1/bundle/a", "jobs/1/t1/bundle/b"]
    assert store.fetch_file("jobs/1/t1/bundle/b").read_text() == "B"
    assert 0.0 <= store.get_age_s("jobs/1/t1/bundle/a") < 3600.0


def test_a_folder_outside_of_scratch_can_be_published(store: Storage, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere"
    source.mkdir()
    (source / "a").write_text("A")
    store.publish(source, "x/y")
    assert store.fetch_file("x/y/a").read_text() == "A"
    assert not source.exists()


def test_an_existing_key_cannot_be_published(store: Storage) -> None:
    store.publish(create_folder(store, a="first"), "k/1")
    with pytest.raises(Conflict):
        store.publish(create_folder(store, a="second"), "k/1")
    assert store.fetch_file("k/1/a").read_text() == "first"
    file = create_folder(store, a="first") / "a"
    store.publish_file(file, "uploads/1")
    assert not file.exists()
    with pytest.raises(Conflict):
        store.publish_file(create_folder(store, a="second") / "a", "uploads/1")
    assert store.fetch_file("uploads/1").read_text() == "first"


DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "flipped bit": lambda content: bytes([content[0] ^ 1]) + content[1:],
    "cut": lambda content: content[:-1],
    "halved": lambda content: content[: len(content) // 2],
    "emptied": lambda content: b"",
    "lengthened": lambda content: b"more " + content,
    "removed": lambda content: None,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_detected(store: Storage, url: str, damage: str) -> None:
    store.publish(create_folder(store, a="content", b="B"), "k")
    change_file(url, "k/a", DAMAGES[damage])
    with pytest.raises(CorruptFile) as raised:
        store.fetch("k", {"b": sha256("B"), "a": sha256("content")})
    assert (raised.value.extra["key"], raised.value.extra["file"]) == ("k", "a")
    assert (store.fetch("k", {"b": sha256("B")}) / "b").read_text() == "B"


def test_swapped_files_are_detected(store: Storage, url: str) -> None:
    store.publish(create_folder(store, a="A", b="B"), "k")
    change_file(url, "k/a", lambda _: b"B")
    change_file(url, "k/b", lambda _: b"A")
    with pytest.raises(CorruptFile):
        store.fetch("k", {"a": sha256("A"), "b": sha256("B")})


def test_deletion_is_complete_and_idempotent(store: Storage) -> None:
    store.publish(create_folder(store, a="A"), "jobs/1/t1/checkpoints/1")
    store.publish(create_folder(store, a="A"), "jobs/1/t1/checkpoints/2")
    store.publish_file(create_folder(store, a="A") / "a", "uploads/1")
    for _ in range(2):
        store.delete("jobs/1/t1/checkpoints/1")
        store.delete("uploads/1")
    assert list(store.list_keys("")) == ["jobs/1/t1/checkpoints/2/a"]
    with pytest.raises(NotFound):
        store.fetch_file("uploads/1")
    assert list(store.list_keys("uploads")) == []


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../b", "", "a//b", ".scratch/x", "a\0b", "a/./b", "-x"])
def test_a_key_cannot_leave_the_storage(store: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="is not a valid storage key"):
        store.fetch_file(key)
    with pytest.raises(ValueError, match="is not a valid storage key"):
        store.publish(create_folder(store, a="A"), key)


def test_nested_folders_are_stored(store: Storage, tmp_path: Path) -> None:
    source = store.create_scratch_folder()
    (source / "train" / "deep").mkdir(parents=True)
    (source / "train" / "deep" / "empty").touch()
    store.publish(source, "datasets/1/t1")
    assert list(store.list_keys("datasets")) == ["datasets/1/t1/train/deep/empty"]
    assert store.fetch_file("datasets/1/t1/train/deep/empty").read_bytes() == b""
    assert store.get_age_s("datasets/1/t1/train/deep/empty") < 3600.0


def test_a_file_larger_than_a_request_is_stored(store: Storage, tmp_path: Path) -> None:
    path = store.create_scratch_folder() / "large"
    path.write_bytes(os.urandom(2**20) * 40)
    digest = compute_sha256(path)
    store.publish_file(path, "uploads/large")
    assert compute_sha256(store.fetch_file("uploads/large")) == digest


def test_a_full_disk_stores_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStorage.open_folder(str(tmp_path / "store"))
    source = create_folder(store, a="A")

    def raise_full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(os, "fsync", raise_full)
        store.publish(source, "k")
    with pytest.raises(NotFound):
        store.fetch_file("k/a")
    store.publish(source, "k")


@pytest.mark.parametrize("number", [errno.EROFS, errno.EIO, errno.ESTALE])
def test_a_failed_disk_is_unavailable_until_it_recovers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    store = LocalStorage.open_folder(str(tmp_path / "store"))
    store.publish(create_folder(store, a="A"), "k")
    source = create_folder(store, a="A")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        patch.setattr(Path, "open", fail)
        patch.setattr(tempfile, "mkdtemp", fail)
        for use in (
            lambda: store.publish(source, "l"),
            lambda: store.fetch("k", {"a": sha256("A")}),
            store.create_scratch_folder,
        ):
            with pytest.raises(Unavailable, match="cannot be used"):
                use()
    store.publish(source, "l")
    assert store.fetch("k", {"a": sha256("A")}) == tmp_path / "store" / "k"


def test_a_storage_that_cannot_be_written_is_not_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStorage.open_folder(str(tmp_path / "store"))

    def read_only(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", read_only)  # root ignores file modes
    with pytest.raises(NotReady, match="Read-only"):
        store.check_writable()


def test_a_storage_that_can_be_written_is_ready(store: Storage) -> None:
    store.check_writable()
    assert store.get_free_bytes() > 0
    assert list(store.list_keys("")) == []


HOLDER = """
import sys, time
from pathlib import Path
from core.storage import open_storage
print(open_storage(sys.argv[1], cache=Path(sys.argv[2])).create_scratch_folder(), flush=True)
time.sleep(600)
"""


def test_scratch_folders_of_ended_processes_are_deleted(store: Storage, url: str, tmp_path: Path) -> None:
    own = store.create_scratch_folder()
    arguments = [sys.executable, "-c", HOLDER, url, str(tmp_path / "cache")]
    process = subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    other = Path(process.stdout.readline().strip())
    store.delete_abandoned_scratch()
    assert other.exists()
    end(process)
    process.stdout.close()
    store.delete_abandoned_scratch()
    assert not other.exists()
    assert own.exists()


def test_an_unknown_url_is_rejected() -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_STORAGE_URL"):
        open_storage("ftp://nowhere")


def test_a_storage_that_cannot_be_written_stops_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = LocalStorage.open_folder(str(tmp_path))
    require_storage(storage)

    def fail(_: object) -> None:
        raise NotReady("The disk is read-only.")

    monkeypatch.setattr(LocalStorage, "check_writable", fail)
    with pytest.raises(ConfigurationError, match=r"CANDELA_STORAGE_URL: The disk is read-only\."):
        require_storage(storage)
