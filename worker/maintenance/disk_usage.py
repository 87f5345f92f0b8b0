"""Measures the disk usage by kind of data, for `GET /v1/system`."""

import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from core.db.damage import get_database_file
from core.db.repos.system_reports import SystemReportRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelVariantRow
from core.settings import Settings
from core.storage import Storage
from worker.maintenance.orphaned_files import get_unit_key

REPORT = "disk"
KINDS = ("datasets", "uploads", "checkpoints", "artifacts", "models", "variants", "caches", "database")

STORE_FOLDERS = {"datasets": "datasets", "uploads": "uploads", "upload-parts": "uploads"}
JOB_FOLDERS = {"checkpoints": "checkpoints", "bundle": "models"}


def store_disk_usage(settings: Settings, sessions: SessionFactory, storage: Storage) -> None:
    """Measure the disk usage and store it as a report."""
    with transaction(sessions, read_only=True) as session:
        variants = set(session.scalars(select(ModelVariantRow.key)))
        database_bytes = get_database_bytes(session)
    sizes = dict.fromkeys(KINDS, 0) | {"database": database_bytes}
    for key, size in storage.list_sizes(""):
        sizes[get_kind(key, variants)] += size
    sizes["datasets"] += sum(iterate_file_sizes(settings.datasets_dir))
    sizes["caches"] += sum(iterate_file_sizes(settings.cache_dir))
    with transaction(sessions) as session:
        SystemReportRepo(session).put(REPORT, {"kinds": sizes, "free_bytes": storage.get_free_bytes()})


def get_kind(key: str, variants: set[str]) -> str:
    """Return the kind of a stored file: `checkpoints` for `jobs/…/t1/checkpoints/3/weights.safetensors`, and so on.

    Files of variants are result files of jobs; `variants` has the storage keys of existing variants. All other results
    of jobs count as artifacts.
    """
    folder, *rest = key.split("/")
    if folder == "jobs":
        kinds = [kind for part, kind in JOB_FOLDERS.items() if part in rest[2:3]]  # jobs/<id>/<token>/<folder>/…
        return "variants" if get_unit_key(key) in variants else (kinds or ["artifacts"])[0]
    return STORE_FOLDERS.get(folder, "caches")


def get_database_bytes(session: Session) -> int:
    """Return the size of the database with its log."""
    bind = session.get_bind()
    if bind.dialect.name == "postgresql":
        return int(session.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    file = get_database_file(bind.engine.url)
    paths = [] if file is None else [Path(f"{file}{suffix}") for suffix in ("", "-wal", "-shm")]
    return sum(path.stat().st_size for path in paths if path.exists())


def iterate_file_sizes(folder: Path) -> Iterator[int]:
    """Yield the sizes of all files below a folder. Files that are deleted meanwhile are skipped."""
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                yield Path(parent, name).lstat().st_size
