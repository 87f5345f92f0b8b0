"""Checkpoints that a recorder stores under numbers that the database gives."""

import hashlib

from sqlalchemy import delete

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, JobRow
from core.storage import LocalStorage
from worker.control.recorder import Recorder
from worker.maintenance.orphaned_files import orphans
from worker.protocol import Checkpoint, StoredFile


def said(storage: LocalStorage, step: int) -> Checkpoint:
    folder = storage.scratch()
    (folder / "weights.safetensors").write_bytes(b"%d" % step)
    file = StoredFile(sha256=hashlib.sha256(b"%d" % step).hexdigest(), size_bytes=1)
    return Checkpoint(dir=str(folder), epoch=1, step=step, metrics={}, files={"weights.safetensors": file})


def test_a_database_that_lost_its_last_commit_costs_no_checkpoint(
    sqlite_sessions: SessionFactory, storage: LocalStorage, queued: JobRow
) -> None:
    with transaction(sqlite_sessions) as session:
        claimed = AttemptRepo(session).claim(queued.id, "w", 60.0)
    assert claimed is not None
    recorder = Recorder(sqlite_sessions, storage, claimed, lambda: False)
    recorder.checkpoint(said(storage, 1))
    with transaction(sqlite_sessions) as session:  # as after a crash of PostgreSQL without synchronous_commit
        session.execute(delete(CheckpointRow))
    recorder.checkpoint(said(storage, 2))
    with transaction(sqlite_sessions, read_only=True) as session:
        [row] = CheckpointRepo(session).all(queued.id)
    assert (row.number, row.step) == (1, 2)
    files = {name: facts["sha256"] for name, facts in row.files.items()}
    assert (storage.fetch(row.key, files) / "weights.safetensors").read_bytes() == b"2"
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).release(queued.id, claimed.token, "worker left")
    found = orphans(sqlite_sessions, storage, 0.0)
    assert f"jobs/{queued.id}/t1/checkpoints/1" in found
    assert row.key not in found
