"""S3 storage: retries, atomic publishing and the cache of downloads."""

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import Conflict, CorruptFile, NotFound, NotReady, Unavailable
from core.storage.bucket import Bucket
from core.storage.s3 import S3Storage
from tests.support.s3 import BUCKET, S3Server
from tests.support.s3_proxy import FaultyS3, Plan, faulty_s3

pytestmark = pytest.mark.services


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultyS3]:
    with faulty_s3(s3.endpoint) as proxy:
        yield proxy


@pytest.fixture
def prefix(s3: S3Server, proxy: FaultyS3, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment(proxy.endpoint).items():
        monkeypatch.setenv(name, value)
    return s3.new_url().rpartition("/")[2]


@pytest.fixture
def store(prefix: str, tmp_path: Path) -> Iterator[S3Storage]:
    store = open_store(prefix, tmp_path / "cache")
    yield store
    store.close()


def open_store(prefix: str, cache: Path, max_cache_bytes: int = 2**30) -> S3Storage:
    return S3Storage(Bucket(BUCKET, prefix, sleep=lambda _: None, max_retries=1), cache, max_cache_bytes)


def create_folder(store: S3Storage, **files: bytes) -> Path:
    path = store.create_scratch_folder()
    for name, content in files.items():
        (path / name).write_bytes(content)
    return path


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def plan_faults(count: int, fault: str, on: str) -> Plan:
    """Apply a fault to the first `count` requests whose method and path contain `on`."""
    remaining = [count]

    def plan(method: str, path: str) -> str:
        if on in f"{method} {path}" and remaining[0] > 0:
            remaining[0] -= 1
            return fault
        return "none"

    return plan  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("fault", "on"),
    [
        ("refuse", "PUT"),
        ("refuse", "GET"),
        ("lose", "PUT"),
        ("lose", "/.manifest"),
        ("cut", "GET"),
    ],
)
@pytest.mark.parametrize("count", [1, 3])
def test_short_faults_are_retried(store: S3Storage, proxy: FaultyS3, fault: str, on: str, count: int) -> None:
    content = os.urandom(2**20)
    proxy.plan = plan_faults(count, fault, on)
    store.publish(create_folder(store, a=content), "k")
    assert (store.fetch("k", {"a": sha256(content)}) / "a").read_bytes() == content
    assert list(store.list_keys("k")) == ["k/a"]


@pytest.mark.parametrize("on", ["PUT", "/b", "/.manifest"])
def test_a_long_outage_is_reported_and_publishes_nothing(store: S3Storage, proxy: FaultyS3, on: str) -> None:
    source = create_folder(store, a=b"A", b=b"B")
    proxy.plan = plan_faults(1000, "refuse", on)
    with pytest.raises(Unavailable, match="503"):
        store.publish(source, "k")
    assert len(proxy.seen) < 30  # retries are bounded
    proxy.plan = lambda method, path: "none"
    with pytest.raises(NotFound):
        store.fetch_file("k/a")
    with pytest.raises(CorruptFile):
        store.fetch("k", {"a": sha256(b"A")})
    store.publish(source, "k")
    assert (store.fetch("k", {"a": sha256(b"A")}) / "a").read_bytes() == b"A"


def test_incomplete_sets_are_listed_and_can_be_deleted(store: S3Storage, proxy: FaultyS3) -> None:
    proxy.plan = lambda method, path: "refuse" if path.endswith("/b") or method in {"DELETE", "POST"} else "none"
    with pytest.raises(Unavailable):
        store.publish(create_folder(store, a=b"A", b=b"B"), "jobs/1/t1/bundle")
    proxy.plan = lambda method, path: "none"
    assert list(store.list_keys("jobs")) == ["jobs/1/t1/bundle/a"]
    assert store.get_age_s("jobs/1/t1/bundle/a") < 3600.0
    store.delete("jobs/1/t1/bundle")
    assert list(store.list_keys("jobs")) == []


def test_one_of_two_writers_succeeds_completely(store: S3Storage, proxy: FaultyS3) -> None:
    both = threading.Barrier(2)

    def wait_for_both(method: str, path: str) -> str:
        if method == "PUT" and path.endswith("/.manifest"):
            both.wait(30)
        return "none"

    proxy.plan = wait_for_both  # type: ignore[assignment]
    results: list[str] = []

    def write(content: bytes) -> None:
        try:
            store.publish(create_folder(store, a=content, b=content), "k")
            results.append(content.decode())
        except Conflict:
            results.append("conflict")

    writers = [threading.Thread(target=write, args=(content,)) for content in (b"1", b"2")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert "conflict" in results
    (winner,) = set(results) - {"conflict"}
    digest = sha256(winner.encode())
    fetched = store.fetch("k", {"a": digest, "b": digest})
    assert (fetched / "a").read_text() == (fetched / "b").read_text() == winner
    assert list(store.list_keys("k")) == ["k/a", "k/b"]


def test_cached_files_are_available_during_an_outage(store: S3Storage, proxy: FaultyS3) -> None:
    store.publish(create_folder(store, a=b"A"), "k")
    once = store.fetch("k", {"a": sha256(b"A")})
    proxy.plan = lambda method, path: "refuse"
    assert store.fetch("k", {"a": sha256(b"A")}) == once
    with pytest.raises(NotReady, match="503"):
        store.check_writable()


def test_a_damaged_cached_file_is_downloaded_again(store: S3Storage, proxy: FaultyS3) -> None:
    store.publish(create_folder(store, a=b"A"), "k")
    copy = store.fetch("k", {"a": sha256(b"A")}) / "a"
    copy.write_bytes(b"B")
    assert (store.fetch("k", {"a": sha256(b"A")}) / "a").read_bytes() == b"A"


READER = """
import sys
from pathlib import Path
from tests.unit.core.storage.test_s3 import open_store
store = open_store(sys.argv[1], Path(sys.argv[2]))
print(store.fetch("k", {"a": sys.argv[3]}))
"""


def test_concurrent_processes_download_a_file_once(
    store: S3Storage, proxy: FaultyS3, prefix: str, tmp_path: Path
) -> None:
    content = os.urandom(2**20)
    store.publish(create_folder(store, a=content), "k")
    proxy.seen.clear()
    command = [sys.executable, "-c", READER, prefix, str(tmp_path / "cache"), sha256(content)]
    readers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    found = {Path(reader.communicate(timeout=60)[0].strip()) for reader in readers}
    assert [(path / "a").read_bytes() == content for path in found] == [True]
    assert [path for method, path in proxy.seen if path.endswith("/a")] == [proxy.seen[-1][1]]


def test_the_least_recently_used_cache_entries_are_evicted(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(prefix, tmp_path / "cache", max_cache_bytes=2500)
    contents = {name: os.urandom(1000) for name in "abc"}
    copies = {}
    for age, (name, content) in zip((3000, 1000, 2000), contents.items(), strict=True):
        store.publish(create_folder(store, **{name: content}), name)
        copies[name] = store.fetch(name, {name: sha256(content)})
        if name != "c":
            os.utime(copies[name], (copies[name].stat().st_mtime - age,) * 2)
    assert [name for name, copy in copies.items() if copy.exists()] == ["b", "c"]
    store.fetch("a", {"a": sha256(contents["a"])})
    assert [name for name, copy in copies.items() if copy.exists()] == ["a", "c"]  # b is older than ten minutes
    store.fetch("b", {"b": sha256(contents["b"])})
    assert [name for name, copy in copies.items() if copy.exists()] == ["a", "b", "c"]  # all may be in use
    store.close()


def test_incomplete_downloads_of_ended_processes_are_deleted(store: S3Storage, tmp_path: Path) -> None:
    part = tmp_path / "cache" / f".part-{'0' * 64}"
    part.mkdir()
    store.delete_abandoned_scratch()
    assert not part.exists()
    shutil.rmtree(tmp_path / "cache" / ".scratch", ignore_errors=True)
