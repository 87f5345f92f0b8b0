"""What every storage must do; a new backend is one more parameter."""

import errno
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import ConfigurationError, Conflict, Corrupt, NotFound, NotReady, StorageFull
from core.storage import LocalStorage, Storage, open_storage
from tests.support.processes import end


@pytest.fixture(params=["file"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return open_storage(f"{request.param}://{tmp_path / 'store'}")


def folder(store: Storage, **files: str) -> Path:
    """A complete folder, ready to be published."""
    folder = store.scratch()
    for name, content in files.items():
        (folder / name).write_text(content)
    return folder


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_published_folder_is_fetched_by_its_hashes(store: Storage) -> None:
    source = folder(store, a="A", b="B")
    store.publish(source, "jobs/1/t1/bundle")
    fetched = store.fetch("jobs/1/t1/bundle", {"a": sha256("A"), "b": sha256("B")})
    assert (fetched / "a").read_text() == "A"
    assert not source.exists()
    assert list(store.keys("jobs")) == ["jobs/1/t1/bundle/a", "jobs/1/t1/bundle/b"]
    assert store.path("jobs/1/t1/bundle/b").read_text() == "B"
    assert 0.0 <= store.age_s("jobs/1/t1/bundle/a") < 3600.0


def test_a_folder_from_another_place_is_published_too(store: Storage, tmp_path: Path) -> None:
    source = tmp_path / "elsewhere"
    source.mkdir()
    (source / "a").write_text("A")
    store.publish(source, "x/y")
    assert store.path("x/y/a").read_text() == "A"
    assert not source.exists()


def test_a_key_is_taken_once(store: Storage) -> None:
    store.publish(folder(store, a="first"), "k/1")
    with pytest.raises(Conflict):
        store.publish(folder(store, a="second"), "k/1")
    assert store.path("k/1/a").read_text() == "first"
    file = folder(store, a="first") / "a"
    store.publish_file(file, "uploads/1")
    assert not file.exists()
    with pytest.raises(Conflict):
        store.publish_file(folder(store, a="second") / "a", "uploads/1")
    assert store.path("uploads/1").read_text() == "first"


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_damage_is_told(store: Storage, damage: str) -> None:
    store.publish(folder(store, a="content"), "k")
    path = store.path("k/a")
    if damage == "flip":
        path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    elif damage == "truncate":
        path.write_text("conten")
    else:
        path.unlink()
    with pytest.raises(Corrupt) as told:
        store.fetch("k", {"a": sha256("content")})
    assert told.value.facts["file"] == "a"


def test_deleting_is_complete_and_may_be_repeated(store: Storage) -> None:
    store.publish(folder(store, a="A"), "jobs/1/t1/checkpoints/1")
    store.publish(folder(store, a="A"), "jobs/1/t1/checkpoints/2")
    store.publish_file(folder(store, a="A") / "a", "uploads/1")
    for _ in range(2):
        store.delete("jobs/1/t1/checkpoints/1")
        store.delete("uploads/1")
    assert list(store.keys("")) == ["jobs/1/t1/checkpoints/2/a"]
    with pytest.raises(NotFound):
        store.path("uploads/1")
    assert list(store.keys("uploads")) == []


@pytest.mark.parametrize("key", ["../x", "/etc/passwd", "a/../../b", "", "a//b", ".scratch/x", "a\0b", "a/./b", "-x"])
def test_a_key_cannot_leave_the_storage(store: Storage, key: str) -> None:
    with pytest.raises(ValueError, match="is no key"):
        store.path(key)
    with pytest.raises(ValueError, match="is no key"):
        store.publish(folder(store, a="A"), key)


def test_a_full_disk_leaves_nothing_under_the_key(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = folder(store, a="A")

    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(StorageFull):
        patch.setattr(os, "fsync", full)
        store.publish(source, "k")
    with pytest.raises(NotFound):
        store.path("k/a")
    store.publish(source, "k")


def test_a_storage_that_cannot_be_written_is_not_ready(store: Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    store.check()
    assert store.free_bytes() > 0

    def read_only(*_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_bytes", read_only)  # root may write whatever the modes say
    with pytest.raises(NotReady, match="Read-only"):
        store.check()


HOLDER = """
import sys, time
from core.storage import open_storage
print(open_storage(sys.argv[1]).scratch(), flush=True)
time.sleep(600)
"""


def test_scratch_is_swept_only_when_its_process_is_gone(tmp_path: Path) -> None:
    url = f"file://{tmp_path / 'store'}"
    mine = LocalStorage.at(str(tmp_path / "store"))
    own = mine.scratch()
    process = subprocess.Popen([sys.executable, "-c", HOLDER, url], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    theirs = Path(process.stdout.readline().strip())
    mine.sweep_scratch()
    assert theirs.exists()
    end(process)
    process.stdout.close()
    mine.sweep_scratch()
    assert not theirs.exists()
    assert own.exists()
    mine.close()
    assert not own.exists()


def test_an_unknown_url_stops_the_start() -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_STORAGE_URL"):
        open_storage("ftp://nowhere")
