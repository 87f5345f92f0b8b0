"""The disk usage is measured by kind, in a folder and in a bucket, on SQLite and PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db.clock import utc_now
from core.db.repos.system_reports import SystemReportRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.settings import Settings
from core.storage import Storage, open_storage
from tests.support.s3 import S3Server
from worker.maintenance.disk_usage import KINDS, REPORT, get_kind, store_disk_usage

UNIT = 10_000  # bytes; the manifests of a bucket, which count too, are smaller


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.services)])
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Storage]:
    url = f"file://{tmp_path / 'store'}"
    if request.param == "s3":
        server: S3Server = request.getfixturevalue("s3")
        for name, value in server.environment().items():
            monkeypatch.setenv(name, value)
        url = server.new_url()
    store = open_storage(url, cache=tmp_path / "bucket-cache")
    yield store
    store.close()


def publish(store: Storage, key: str, size: int) -> None:
    folder = store.create_scratch_folder() / "files"
    folder.mkdir()
    (folder / "file.bin").write_bytes(b"1" * (size * UNIT))
    store.publish(folder, key)


def read_disk(sessions: SessionFactory) -> dict[str, Any]:
    with transaction(sessions, read_only=True) as session:
        report = SystemReportRepo(session).find(REPORT)
        assert report is not None
        assert abs((utc_now() - report.computed_at).total_seconds()) < 3600
        return report.content


def test_each_file_counts_for_its_kind(store: Storage, sqlite_sessions: SessionFactory, tmp_path: Path) -> None:
    with transaction(sqlite_sessions) as session:
        columns: dict[str, Any] = {key: {} for key in ("files", "bundle", "spec", "metrics", "dataset")}
        columns |= {"job_id": "a", "size_bytes": 1, "created_at": utc_now()}
        key, sha256 = "jobs/a/t1/bundle", "0" * 64
        version = ModelVersionRow(name="m", version=1, job_token=1, key=key, sha256=sha256, num_parameters=1, **columns)
        session.add(version)
        session.flush()
        variant: dict[str, Any] = {"name": "m", "version": 1, "format": "onnx", "key": "jobs/v/t1/answer"}
        columns = {"files": {}, "size_bytes": 1, "measured": {}, "created_at": utc_now()}
        session.add(ModelVariantRow(job_id="v", **variant, **columns))
    sizes = {"datasets/x/t1": 1, "uploads/x": 2, "upload-parts/x/1": 4, "jobs/a/t1/checkpoints/1": 8}
    sizes |= {"jobs/a/t1/artifacts/1": 16, "jobs/p/t1/answer": 32, "jobs/a/t1/bundle": 64, "jobs/v/t1/answer": 128}
    for key, size in sizes.items():
        publish(store, key, size)
    for folder, size in (("sources", 256), ("cache", 512)):
        (tmp_path / folder / "deep").mkdir(parents=True)
        (tmp_path / folder / "deep" / "file").write_bytes(b"1" * (size * UNIT))
    settings = Settings(datasets=tmp_path / "sources", cache=tmp_path / "cache")
    store_disk_usage(settings, sqlite_sessions, store)
    disk = read_disk(sqlite_sessions)
    kinds = disk["kinds"]
    assert tuple(kinds) == KINDS
    assert kinds.pop("caches") >= 512 * UNIT
    assert kinds.pop("database") > 0
    expected = {"datasets": 257, "uploads": 6, "checkpoints": 8, "artifacts": 48, "models": 64, "variants": 128}
    assert {kind: size // UNIT for kind, size in kinds.items()} == expected
    assert disk["free_bytes"] > 0


def test_the_size_of_the_database_is_measured(sessions: SessionFactory, tmp_path: Path) -> None:
    store = open_storage(f"file://{tmp_path / 'store'}")
    settings = Settings(home=tmp_path / "missing")
    store_disk_usage(settings, sessions, store)
    assert read_disk(sessions)["kinds"]["database"] > 10_000
    store_disk_usage(settings, sessions, store)  # a later report replaces the earlier one
    store.close()


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("jobs/a/t1/checkpoints/1/weights.safetensors", "checkpoints"),
        ("jobs/a/t1/log", "artifacts"),
        ("jobs/a", "artifacts"),
        (".scratch/x/file", "caches"),
        ("unknown", "caches"),
    ],
)
def test_every_key_has_a_kind(key: str, kind: str) -> None:
    assert get_kind(key, set()) == kind
