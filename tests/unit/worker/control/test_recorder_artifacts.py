"""Files that a job leaves: stored, replaced, fenced, found by nobody else, and gone with the job."""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ArtifactRow, JobRow
from core.errors import LostLease, StorageFull
from core.jobs import JobState
from core.storage import LocalStorage
from worker.control.recorder import Recorder
from worker.maintenance.orphaned_files import orphans
from worker.protocol import Artifact


@pytest.fixture
def rows(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[], dict[str, ArtifactRow]]:
    def rows() -> dict[str, ArtifactRow]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return {row.name: row for row in ArtifactRepo(session).all(queued.id)}

    return rows


@pytest.fixture
def claimed(sqlite_sessions: SessionFactory, queued: JobRow) -> JobRow:
    with transaction(sqlite_sessions) as session:
        job = AttemptRepo(session).claim(queued.id, "w", 60.0)
    assert job is not None
    return job


def said(storage: LocalStorage, **changes: Any) -> Artifact:
    folder = storage.scratch()
    (folder / "metrics.csv").write_text("one")
    file = {"sha256": hashlib.sha256(b"one").hexdigest(), "size_bytes": 3}
    return Artifact(dir=str(folder), name="metrics.csv", media_type="text/csv", **file | changes)


def test_a_later_file_takes_the_place_of_one_of_its_name(
    supervise: Any, sqlite_sessions: SessionFactory, storage: LocalStorage, queued: JobRow, rows: Any
) -> None:
    assert supervise("leave").run(queued.id)
    found = rows()
    assert set(found) == {"metrics.csv", "essential.csv"}
    row = found["metrics.csv"]
    assert (storage.fetch(row.key, {row.name: row.sha256}) / row.name).read_text() == "two"
    assert (row.media_type, row.size_bytes, row.token) == ("text/csv", 3, 1)
    kept = {key.rpartition("/")[0] for key in storage.keys(f"jobs/{queued.id}/t1/artifacts")}
    assert kept == {row.key for row in found.values()}
    assert not kept & set(orphans(sqlite_sessions, storage, 0.0))
    with transaction(sqlite_sessions) as session:
        assert kept <= set(JobRepo(session).delete(queued.id))
    assert rows() == {}
    assert kept <= set(orphans(sqlite_sessions, storage, 0.0))  # the sweep takes what a deletion left


def test_a_stale_attempt_leaves_no_file(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, rows: Any
) -> None:
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(claimed.id, claimed.token, "worker left")
        AttemptRepo(session).claim(claimed.id, "another", 60.0)
    with pytest.raises(LostLease):
        Recorder(sqlite_sessions, storage, claimed, lambda: False).artifact(said(storage))
    assert rows() == {}
    assert orphans(sqlite_sessions, storage, 0.0)


class Full(LocalStorage):
    def publish(self, folder: Path, key: str) -> None:
        raise StorageFull("The storage has no space left.")


def test_without_space_the_job_does_without_what_is_optional(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, rows: Any
) -> None:
    storage.__class__ = Full
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    recorder.artifact(said(storage))
    assert rows() == {}
    with pytest.raises(StorageFull):
        recorder.artifact(said(storage, is_optional=False))
    with transaction(sqlite_sessions, read_only=True) as session:
        job = JobRepo(session).get(claimed.id)
    assert job.state is JobState.RUNNING
    assert job.warnings == ["The file 'metrics.csv' could not be stored: The storage has no space left."]
