"""Attempts on a full disk: old checkpoints are deleted, otherwise the job fails; what is stored stays intact."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow
from core.jobs import JobState
from core.storage import LocalStorage
from tests.support.small_disk import MIB, fill_disk
from tests.support.supervision import GetJob, SupervisorFactory


@pytest.fixture
def storage(disk: Path) -> Iterator[LocalStorage]:
    """A storage on the small disk."""
    storage = LocalStorage.open_folder(str(disk / "store"))
    yield storage
    storage.close()


def fetch_checkpoints(sessions: SessionFactory, storage: LocalStorage, job_id: str) -> list[CheckpointRow]:
    """Return the job's checkpoints. All are intact, and the job has no other files except its bundle's."""
    with transaction(sessions) as session:
        rows = CheckpointRepo(session).list_checkpoints(job_id)
    for row in rows:
        storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})
    files = {f"{row.key}/{name}" for row in rows for name in row.files}
    assert {key for key in storage.list_keys("jobs") if "bundle" not in key} == files
    return rows


def test_fewer_checkpoints_are_kept_when_space_is_short(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: GetJob
) -> None:
    make_supervisor("fill the disk MiB:9 9 9 9 9").run(get_job().id)
    assert (get_job().state, get_job().attempt) == (JobState.SUCCEEDED, 1)
    assert [row.step for row in fetch_checkpoints(sqlite_sessions, storage, get_job().id)] == [5]


def test_older_checkpoints_are_deleted_for_a_retry(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, storage: LocalStorage, get_job: GetJob
) -> None:
    supervisor = make_supervisor("fill the disk MiB:9 9 50")
    supervisor.run(get_job().id)
    assert (get_job().state, get_job().lost_attempts) == (JobState.QUEUED, 1)
    assert [row.step for row in fetch_checkpoints(sqlite_sessions, storage, get_job().id)] == [2]
    supervisor.run(get_job().id)
    assert get_job().state is JobState.SUCCEEDED
    assert (get_job().runtime or {})["resumed_from_step"] == 2
    assert [row.step for row in fetch_checkpoints(sqlite_sessions, storage, get_job().id)] == [3]


def test_a_job_fails_and_keeps_its_checkpoint_if_no_space_can_be_freed(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    get_job: GetJob,
    disk: Path,
) -> None:
    make_supervisor("fill the disk MiB:8 16 24 60").run(get_job().id)
    failure = get_job().failure
    assert failure is not None
    assert (get_job().state, failure["code"], failure["retryable"]) == (JobState.FAILED, "disk_full", True)
    assert [row.step for row in fetch_checkpoints(sqlite_sessions, storage, get_job().id)] == [3]
    assert shutil.disk_usage(disk).free > 38 * MIB  # no file of the fourth checkpoint remains


def test_a_job_does_not_start_without_free_space(
    make_supervisor: SupervisorFactory, get_job: GetJob, disk: Path
) -> None:
    ballast = fill_disk(disk, free_bytes=20 * MIB)
    make_supervisor("succeed").run(get_job().id)
    failure = get_job().failure
    assert failure is not None
    assert (get_job().state, failure["code"]) == (JobState.FAILED, "disk_full")
    assert failure["free_bytes"] <= 20 * MIB < failure["needed_bytes"]
    ballast.unlink()
