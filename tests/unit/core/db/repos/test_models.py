"""Model versions are numbered, and found by aliases."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import update

from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow, ModelVersionRow
from core.errors import InvalidSpec, LostLease, NotFound
from tests.support.builders import job


def model(job: JobRow, name: str = "digits") -> ModelVersionRow:
    return ModelVersionRow(
        name=name,
        job_id=job.id,
        key="k",
        files={},
        sha256="a" * 64,
        size_bytes=1,
        bundle={},
        spec={},
        metrics={},
        dataset={},
        num_parameters=1,
    )


def test_versions_are_numbered_and_resolved_by_version_and_alias(sessions: SessionFactory, running: JobRow) -> None:
    with transaction(sessions) as session:
        repo = ModelRepo(session)
        assert repo.register(model(running), running.token).version == 1
        session.execute(update(JobRow).values(token=2))  # the job was extended and claimed again
        assert repo.register(model(running), 2).version == 2
        assert [repo.resolve(ref).version for ref in ("digits", "digits@latest", "digits@1", "digits@2")] == [
            2,
            2,
            1,
            2,
        ]
        repo.set_alias("digits", "champion", 1)
        repo.set_alias("digits", "default", 1)
        assert [repo.resolve(ref).version for ref in ("digits@champion", "digits", "digits@latest")] == [1, 1, 2]
        repo.set_alias("digits", "champion", 2)
        assert repo.resolve("digits@champion").version == 2
        assert repo.get_aliases("digits") == {"champion": 2, "default": 1}
        repo.delete_alias("digits", "default")
        assert repo.resolve("digits").version == 2
        assert [row.version for row in repo.list_versions("digits")] == [2, 1]
        for ref in ("digits@3", "digits@nobody", "nobody", "digits@@1", "../x", "digits@99999999999999999999"):
            with pytest.raises(NotFound):
                repo.resolve(ref)
        with pytest.raises(NotFound, match=f"'digits' has no version {10**24}"):
            repo.resolve(f"digits@{10**24}")
        for alias in ("latest", "7"):
            with pytest.raises(InvalidSpec):
                repo.set_alias("digits", alias, 1)
        with pytest.raises(NotFound):
            repo.set_alias("digits", "champion", 9)


def test_jobs_that_end_at_the_same_time_register_different_versions(sessions: SessionFactory, running: JobRow) -> None:
    barrier = Barrier(8)
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, running.dataset_version_id)
        ids = [JobRepo(session).add(job(version)).id for _ in range(8)]

    def register(job_id: str) -> int:
        barrier.wait(60)
        with transaction(sessions) as session:
            claimed = AttemptRepo(session).claim(job_id, "w", 60.0)
            assert claimed is not None
            return ModelRepo(session).register(model(claimed), claimed.token).version

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(register, ids)) == list(range(1, 9))


def test_a_stale_attempt_cannot_register_a_model(sessions: SessionFactory, running: JobRow) -> None:
    with pytest.raises(LostLease), transaction(sessions) as session:
        ModelRepo(session).register(model(running), token=0)
    with pytest.raises(NotFound), transaction(sessions) as session:
        ModelRepo(session).list_versions("digits")
