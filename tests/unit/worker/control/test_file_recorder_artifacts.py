"""Artifacts of a job: stored, replaced, fenced and deleted with the job."""

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
from tests.support.supervision import SupervisorFactory
from worker.control.recorder import Recorder
from worker.maintenance.orphaned_files import find_orphaned_files
from worker.protocol import ArtifactWritten


@pytest.fixture
def rows(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[], dict[str, ArtifactRow]]:
    def rows() -> dict[str, ArtifactRow]:
        with transaction(sqlite_sessions, read_only=True) as session:
            return {row.name: row for row in ArtifactRepo(session).list_artifacts(queued.id)}

    return rows


def build_artifact(storage: LocalStorage, **changes: Any) -> ArtifactWritten:
    folder = storage.create_scratch_folder()
    (folder / "metrics.csv").write_text("one")
    file = {"sha256": hashlib.sha256(b"one").hexdigest(), "size_bytes": 3}
    return ArtifactWritten(dir=str(folder), name="metrics.csv", media_type="text/csv", **file | changes)


def test_a_later_artifact_replaces_one_of_the_same_name(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    queued: JobRow,
    rows: Any,
) -> None:
    assert make_supervisor("store artifacts").run(queued.id)
    stored = rows()
    assert set(stored) == {"metrics.csv", "essential.csv"}
    row = stored["metrics.csv"]
    assert (storage.fetch(row.key, {row.name: row.sha256}) / row.name).read_text() == "two"
    assert (row.media_type, row.size_bytes, row.token) == ("text/csv", 3, 1)
    keys = {key.rpartition("/")[0] for key in storage.list_keys(f"jobs/{queued.id}/t1/artifacts")}
    assert keys == {row.key for row in stored.values()}
    assert not keys & set(find_orphaned_files(sqlite_sessions, storage, 0.0))
    with transaction(sqlite_sessions) as session:
        assert keys <= set(JobRepo(session).delete(queued.id))
    assert rows() == {}
    assert keys <= set(find_orphaned_files(sqlite_sessions, storage, 0.0))  # maintenance deletes what remains


def test_a_stale_attempt_registers_no_artifact(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, rows: Any
) -> None:
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(claimed.id, claimed.token, "worker left")
        AttemptRepo(session).claim(claimed.id, "another", 60.0)
    with pytest.raises(LostLease):
        Recorder(sqlite_sessions, storage, claimed, lambda: False).files.store_artifact(build_artifact(storage))
    assert rows() == {}
    assert find_orphaned_files(sqlite_sessions, storage, 0.0)


class FullStorage(LocalStorage):
    """A storage without free space."""

    def publish(self, folder: Path, key: str) -> None:
        raise StorageFull("The storage is full.")


def test_an_optional_artifact_that_does_not_fit_becomes_a_warning(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, rows: Any
) -> None:
    storage.__class__ = FullStorage
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    recorder.files.store_artifact(build_artifact(storage))
    assert rows() == {}
    with pytest.raises(StorageFull):
        recorder.files.store_artifact(build_artifact(storage, is_optional=False))
    with transaction(sqlite_sessions, read_only=True) as session:
        job = JobRepo(session).get(claimed.id)
    assert job.state is JobState.RUNNING
    assert job.warnings == ["The artifact 'metrics.csv' could not be stored: The storage is full."]
