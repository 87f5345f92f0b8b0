"""Checkpoints: stored under the numbers that the database assigns."""

import hashlib

import pytest
from sqlalchemy import delete

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, JobRow
from core.storage import LocalStorage
from worker.control.recorder import Recorder
from worker.maintenance.orphaned_files import find_orphaned_files
from worker.protocol import CheckpointWritten, FileDigest


def build_checkpoint(storage: LocalStorage, step: int) -> CheckpointWritten:
    folder = storage.create_scratch_folder()
    (folder / "weights.safetensors").write_bytes(b"%d" % step)
    file = FileDigest(sha256=hashlib.sha256(b"%d" % step).hexdigest(), size_bytes=1)
    return CheckpointWritten(dir=str(folder), epoch=1, step=step, metrics={}, files={"weights.safetensors": file})


def test_a_lost_commit_of_a_checkpoint_does_not_block_the_next_one(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow
) -> None:
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    recorder.files.store_checkpoint(build_checkpoint(storage, 1))
    with transaction(sqlite_sessions) as session:  # as after a crash of PostgreSQL without synchronous_commit
        session.execute(delete(CheckpointRow))
    recorder.files.store_checkpoint(build_checkpoint(storage, 2))
    with transaction(sqlite_sessions, read_only=True) as session:
        [row] = CheckpointRepo(session).list_checkpoints(claimed.id)
    assert (row.number, row.step) == (1, 2)
    files = {name: file["sha256"] for name, file in row.files.items()}
    assert (storage.fetch(row.key, files) / "weights.safetensors").read_bytes() == b"2"
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(claimed.id, claimed.token, "worker left")
    orphaned = find_orphaned_files(sqlite_sessions, storage, 0.0)
    assert f"jobs/{claimed.id}/t1/checkpoints/1" in orphaned
    assert row.key not in orphaned


@pytest.mark.parametrize(("sweep_id", "steps"), [(None, [2, 3]), ("0" * 32, [3])])
def test_a_trial_of_a_sweep_keeps_one_checkpoint(
    sqlite_sessions: SessionFactory, storage: LocalStorage, claimed: JobRow, sweep_id: str | None, steps: list[int]
) -> None:
    claimed.sweep_id = sweep_id
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    for step in (1, 2, 3):
        recorder.files.store_checkpoint(build_checkpoint(storage, step))
    with transaction(sqlite_sessions, read_only=True) as session:
        rows = CheckpointRepo(session).list_checkpoints(claimed.id)
    assert [row.step for row in rows] == steps
    assert {key.rpartition("/")[0] for key in storage.list_keys("jobs")} == {row.key for row in rows}
