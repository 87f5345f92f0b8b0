"""Checkpoints are retained, pruned and fenced."""

import pytest
from sqlalchemy import select, update

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo, build_is_source
from core.db.repos.jobs import JobRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.errors import LostLease, NotFound, ResourceInUse
from core.sweeps.states import SweepState
from tests.support.builders import job, job_spec
from tests.support.stored_sweeps import add_sweep
from tests.support.sweeps import BASE, build_sweep


def store(sessions: SessionFactory, job: JobRow, step: int, *tags: str, token: int | None = None) -> CheckpointRow:
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        number = repo.get_next_number(job.id)
        files = {"weights.safetensors": {"sha256": "a" * 64, "size_bytes": 5}, "x": {"sha256": "b", "size_bytes": 2}}
        return repo.add(
            job.id,
            job.token if token is None else token,
            number=number,
            epoch=1,
            step=step,
            metrics={},
            tags=tags,
            key=f"k/{number}",
            files=files,
        )


def test_best_retained_and_last_checkpoints_are_not_prunable(sessions: SessionFactory, running: JobRow) -> None:
    store(sessions, running, 1, "kept")
    store(sessions, running, 2, "best")
    store(sessions, running, 3, "best")
    store(sessions, running, 4)
    store(sessions, running, 5)
    newest = store(sessions, running, 6)
    assert (newest.size_bytes, newest.sha256) == (7, "a" * 64)
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        assert {row.number: row.tags for row in repo.list_checkpoints(running.id) if row.tags} == {
            1: ["kept"],
            3: ["best"],
            6: ["latest"],
        }
        assert [row.number for row in repo.find_prunable(running.id)] == [2, 4]
        repo.delete(running.id, 2)
        assert [row.step for row in repo.list_resumable(running.id)] == [6, 5, 4, 3, 1]
        assert repo.get_next_number(running.id) == 7
        assert repo.filter_keys({"k/1", "k/2"}) == {"k/1"}
        with pytest.raises(NotFound):
            repo.get(running.id, 2)


def test_a_checkpoint_that_another_job_starts_from_is_not_prunable(sessions: SessionFactory, running: JobRow) -> None:
    for step in range(1, 6):
        store(sessions, running, step)
    with transaction(sessions) as session:
        resume_from = {"resume_from": {"job": running.id, "checkpoint": 2}}
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        other = JobRepo(session).add(job(version, spec=job_spec(**resume_from)))
        JobRepo(session).add(job(version, spec=job_spec(resume_from=None)))
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        assert repo.find_dependents(running.id) == {other.id: 2}
        assert [row.number for row in repo.find_prunable(running.id)] == [1, 3]
        session.execute(update(JobRow).where(JobRow.id == running.id).values(state="succeeded"))
    with pytest.raises(ResourceInUse) as rejected, transaction(sessions) as session:
        JobRepo(session).delete(running.id)
    assert rejected.value.extra["dependents"] == [other.id]
    with transaction(sessions) as session:
        claimed = AttemptRepo(session).claim(other.id, "w", 60.0)
        assert claimed is not None
    store(sessions, claimed, 1)  # from now on it resumes from this checkpoint
    with transaction(sessions) as session:
        assert CheckpointRepo(session).find_dependents(running.id) == {}
        assert [row.number for row in CheckpointRepo(session).find_prunable(running.id)] == [1, 2, 3]
        assert len(JobRepo(session).delete(running.id)) == 5


def test_a_checkpoint_that_an_open_sweep_starts_from_is_kept(sessions: SessionFactory, running: JobRow) -> None:
    for step in range(1, 6):
        store(sessions, running, step)
    source = {"resume_from": {"job": running.id, "checkpoint": 2}}
    sweep_id = add_sweep(sessions, build_sweep(base=BASE | source))
    with transaction(sessions) as session:
        repo = CheckpointRepo(session)
        assert repo.find_dependent_sweeps(running.id) == {sweep_id: 2}
        assert [row.number for row in repo.find_prunable(running.id)] == [1, 3]
        assert repo.delete_all(running.id) == []  # it has not ended
        session.execute(update(JobRow).where(JobRow.id == running.id).values(state="succeeded"))
        assert repo.delete_all(running.id) == []
        assert list(session.scalars(select(JobRow.id).where(build_is_source()))) == [running.id]
    with pytest.raises(ResourceInUse) as rejected, transaction(sessions) as session:
        JobRepo(session).delete(running.id)
    assert rejected.value.extra == {"dependents": [sweep_id], "kind": "sweep"}
    with transaction(sessions) as session:
        sweeps, repo = SweepRepo(session), CheckpointRepo(session)
        sweeps.end(sweeps.finish(sweep_id), SweepState.SUCCEEDED)
        assert list(session.scalars(select(JobRow.id).where(build_is_source()))) == []
        assert len(repo.delete_all(running.id)) == 5
        assert JobRepo(session).get(running.id).has_expired_checkpoints
        with pytest.raises(NotFound):
            repo.lock(running.id, 2)


def test_a_stale_attempt_cannot_store_a_checkpoint(sessions: SessionFactory, running: JobRow) -> None:
    with pytest.raises(LostLease):
        store(sessions, running, 1, token=0)
    with transaction(sessions) as session:
        assert CheckpointRepo(session).list_checkpoints(running.id) == []
