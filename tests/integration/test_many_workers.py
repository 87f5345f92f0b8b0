"""Two workers that share nothing but PostgreSQL, the queue and a bucket: what dies on one goes on on the other."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.db.repos.checkpoints import CheckpointRepo
from core.db.session import make_engine, make_sessions, transaction
from core.db.tables import JobRow
from core.jobs import JobState
from core.storage import Storage, open_storage
from tests.support.processes import is_alive, wait_for
from tests.support.s3 import S3Server
from tests.support.servers import PostgresServer
from tests.support.service import Service, running

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture
def url(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> str:
    for name, value in s3.environment().items():
        monkeypatch.setenv(name, value)
    return s3.new_url()


@pytest.fixture
def service(tmp_path: Path, postgres: PostgresServer, redis_url: str, url: str) -> Iterator[Service]:
    name = postgres.create("candela_template")
    engine = make_engine(postgres.url(name))
    sessions = make_sessions(engine)
    settings = {"CANDELA_STORAGE_URL": url}
    with running(Service(tmp_path / "home", postgres.url(name), redis_url, sessions, **settings)) as service:
        yield service
    engine.dispose()
    postgres.drop(name)


@pytest.fixture
def bucket(url: str, tmp_path: Path) -> Storage:
    return open_storage(url, cache=tmp_path / "onlooker")


def runtime(row: JobRow) -> dict[str, Any]:
    assert row.runtime is not None
    return row.runtime


def worker_pid(row: JobRow) -> int:
    return int(runtime(row)["worker"].split(":")[1])


def test_a_job_killed_on_one_machine_ends_on_another_with_the_same_weights(
    service: Service, bucket: Storage, tmp_path: Path
) -> None:
    first = service.start_worker(CANDELA_HOME=str(tmp_path / "first"))
    service.start_sweep()
    undisturbed = service.submit()
    assert service.finished(undisturbed).state is JobState.SUCCEEDED, service.logs()

    bereft = service.submit()
    interrupted = service.mid_epoch(bereft)
    assert worker_pid(interrupted) == first.pid
    second = service.start_worker(CANDELA_HOME=str(tmp_path / "second"))
    first.kill()
    first.wait()
    shutil.rmtree(tmp_path / "first")  # the machine is gone, and all that it had
    row = service.finished(bereft)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 2, 1), service.logs()
    assert worker_pid(row) == second.pid
    assert runtime(row)["resumed_from_step"] > 0
    assert service.model(bereft).sha256 == service.model(undisturbed).sha256
    wait_for(lambda: not is_alive(runtime(interrupted)["trainer_pid"]), "the trainer to die with its worker", 20)

    for job_id in (undisturbed, bereft):  # every row's files are in the bucket, as they were
        model = service.model(job_id)
        bucket.fetch(model.key, {name: file["sha256"] for name, file in model.files.items()})
        with transaction(service.sessions, read_only=True) as session:
            checkpoints = CheckpointRepo(session).all(job_id)
        assert checkpoints
        for checkpoint in checkpoints:
            bucket.fetch(checkpoint.key, {name: file["sha256"] for name, file in checkpoint.files.items()})
