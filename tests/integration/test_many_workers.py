"""Two workers that share only PostgreSQL, the queue and a bucket: one resumes the other's jobs."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import make_engine, make_session_factory, transaction
from core.db.tables import JobRow
from core.jobs import JobState
from core.storage import Storage, open_storage
from tests.support.processes import is_alive, wait_for
from tests.support.s3 import S3Server
from tests.support.servers import PostgresServer
from tests.support.service import WorkerProcesses, stop_at_end

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return s3.new_url()


@pytest.fixture
def service(tmp_path: Path, postgres: PostgresServer, redis_url: str, url: str) -> Iterator[WorkerProcesses]:
    name = postgres.create("candela_template")
    engine = make_engine(postgres.url(name))
    sessions = make_session_factory(engine)
    settings = {"CANDELA_STORAGE_URL": url}
    with stop_at_end(
        WorkerProcesses(tmp_path / "home", postgres.url(name), redis_url, sessions, **settings)
    ) as service:
        yield service
    engine.dispose()
    postgres.drop(name)


@pytest.fixture
def bucket(url: str, tmp_path: Path) -> Storage:
    return open_storage(url, cache=tmp_path / "reader")


def get_runtime(row: JobRow) -> dict[str, Any]:
    assert row.runtime is not None
    return row.runtime


def get_worker_pid(row: JobRow) -> int:
    return int(get_runtime(row)["worker"].split(":")[1])


def test_a_job_killed_on_one_machine_finishes_on_another_with_the_same_weights(
    service: WorkerProcesses, bucket: Storage, tmp_path: Path
) -> None:
    first = service.start_worker(CANDELA_HOME=str(tmp_path / "first"))
    service.start_maintenance()
    undisturbed = service.submit()
    assert service.wait_for_end(undisturbed).state is JobState.SUCCEEDED, service.read_logs()

    resumed = service.submit()
    interrupted = service.wait_for_mid_epoch(resumed)
    assert get_worker_pid(interrupted) == first.pid
    second = service.start_worker(CANDELA_HOME=str(tmp_path / "second"))
    first.kill()
    first.wait()
    shutil.rmtree(tmp_path / "first")  # the machine and its files are gone
    row = service.wait_for_end(resumed)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1), service.read_logs()
    assert get_worker_pid(row) == second.pid
    assert get_runtime(row)["resumed_from_step"] > 0
    assert service.get_model(resumed).sha256 == service.get_model(undisturbed).sha256
    wait_for(lambda: not is_alive(get_runtime(interrupted)["trainer_pid"]), "the end of the trainer", 20)

    for job_id in (undisturbed, resumed):  # the files of every row are intact in the bucket
        model = service.get_model(job_id)
        bucket.fetch(model.key, {name: file["sha256"] for name, file in model.files.items()})
        with transaction(service.sessions, read_only=True) as session:
            checkpoints = CheckpointRepo(session).list_checkpoints(job_id)
        assert checkpoints
        for checkpoint in checkpoints:
            bucket.fetch(checkpoint.key, {name: file["sha256"] for name, file in checkpoint.files.items()})
