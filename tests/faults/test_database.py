"""A database that is killed, closes connections, loses a reply, is locked or has another schema."""

import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import text

from core.db import schema
from core.db.repos.jobs import JobRepo
from core.db.session import make_engine, make_session_factory, transaction
from core.errors import ConfigurationError
from core.jobs import JobState
from tests.support.builders import dataset_version, job
from tests.support.processes import is_alive, wait_for
from tests.support.proxy import run_proxy
from tests.support.servers import PostgresServer
from tests.support.stack import NUM_EPOCHS_LONG, TINY, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


def test_rows_17_and_18_training_survives_a_killed_postgresql(
    postgres_stack: Stack, own_postgres: PostgresServer
) -> None:
    stack = postgres_stack
    expected = stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(job_id)
    assert stack.api is not None
    api = stack.api.pid
    own_postgres.kill()
    response = stack.http.get("/v1/jobs")
    assert (response.status_code, response.headers["content-type"]) == (503, "application/problem+json")
    assert int(response.headers["Retry-After"]) >= 1
    assert stack.http.get("/health/ready").status_code == 503
    assert stack.http.get("/health/live").status_code == 200
    own_postgres.start()
    wait_for(stack.is_ready, "the API to be ready again, without a restart", 60)
    assert (stack.api.pid, stack.api.poll()) == (api, None)
    assert stack.get_weights_sha256(job_id) == expected


def test_row_18_a_job_resumes_after_an_outage_longer_than_its_lease(
    postgres_stack: Stack, own_postgres: PostgresServer
) -> None:
    stack = postgres_stack
    expected = stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    trainer = stack.wait_for_epoch(job_id)
    own_postgres.kill()
    wait_for(lambda: not is_alive(trainer), "the trainer to stop itself", 30)
    own_postgres.start()
    assert stack.get_weights_sha256(job_id) == expected


def test_row_19_terminated_connections_are_replaced(postgres_stack: Stack, own_postgres: PostgresServer) -> None:
    postgres_stack.http.get("/v1/jobs")
    own_postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'test_1' AND pid <> pg_backend_pid()"
    )
    assert [postgres_stack.http.get("/v1/jobs").status_code for _ in range(5)] == [200] * 5


def test_row_20_a_lost_commit_reply_makes_one_job(postgres_stack: Stack, own_postgres: PostgresServer) -> None:
    """The client gets a 503 and repeats the request with the same key: there is one job."""
    with run_proxy(own_postgres.folder / ".s.PGSQL.5432") as proxy:
        url = f"postgresql://postgres@127.0.0.1:{proxy.port}/test_1?sslmode=disable"
        own = Stack(postgres_stack.home.parent / "row20", url, postgres_stack.redis_url, postgres_stack.sessions)
        try:
            own.start_api()
            wait_for(own.is_ready, "the API", 120)
            body = {**TINY, "name": "row20", "epochs": 1}
            headers = {"Idempotency-Key": "row-20"}
            proxy.cut_down_at = b"COMMIT"
            statuses = [own.http.post("/v1/jobs", json=body, headers=headers).status_code]
            while statuses[-1] != 202 and len(statuses) < 5:
                statuses.append(own.http.post("/v1/jobs", json=body, headers=headers).status_code)
            assert proxy.num_cuts == 1
            assert set(statuses) <= {202, 503}
            items = own.http.get("/v1/jobs", params={"name": "row20"}).json()["items"]
            assert len(items) == 1
            assert postgres_stack.wait_for_end(items[0]["id"]).state is JobState.SUCCEEDED
        finally:
            own.close()


def test_row_22_two_processes_claim_fifty_jobs_once_each(sqlite_template: Path, tmp_path: Path) -> None:
    path = tmp_path / "shared.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = make_engine(f"sqlite:///{path}")
    with transaction(make_session_factory(engine)) as session:
        session.add(version := dataset_version())
        session.flush()
        ids = [JobRepo(session).add(job(version)).id for _ in range(50)]
    code = (
        "import sys\n"
        "from core.db.session import make_engine, make_session_factory, transaction\n"
        "from core.db.repos.attempts import AttemptRepo\n"
        "sessions = make_session_factory(make_engine(sys.argv[1]))\n"
        "for job_id in sys.argv[2:]:\n"
        "    with transaction(sessions) as session:\n"
        "        won = AttemptRepo(session).claim(job_id, 'w', 60.0)\n"
        "    if won is not None:\n"
        "        print(job_id)\n"
    )
    command = [sys.executable, "-c", code, f"sqlite:///{path}", *ids]
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    claimed = [process.communicate(timeout=120)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(claimed[0] + claimed[1]) == sorted(ids)
    engine.dispose()


@pytest.mark.parametrize("moment_s", [0.0, 0.02, 0.1])
def test_row_23_a_killed_migration_can_be_repeated(empty_database_url: str, moment_s: float) -> None:
    """The migration is applied completely or not at all, and it can be run again."""
    code = "import sys, time\nfrom core.db import schema\nprint('go', flush=True)\nschema.upgrade_schema(sys.argv[1])\n"
    command = [sys.executable, "-c", code, empty_database_url]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    threading.Event().wait(moment_s)
    process.kill()
    process.communicate()
    engine = make_engine(empty_database_url)
    try:
        schema.check_schema(engine)
    except ConfigurationError as error:
        message = str(error)
    else:
        message = "complete: candela migrate"
    assert "candela migrate" in message
    schema.upgrade_schema(empty_database_url)
    schema.check_schema(engine)
    schema.check_migrations(empty_database_url)
    engine.dispose()


@pytest.mark.quick
@pytest.mark.parametrize("revision", ["a93d4818ebe4", "ffffffffffff"], ids=["older", "newer"])
def test_row_24_a_schema_of_another_version_is_rejected_in_one_line(
    sqlite_template: Path, tmp_path: Path, revision: str
) -> None:
    path = tmp_path / "other.db"
    path.write_bytes(sqlite_template.read_bytes())
    engine = make_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :other"), {"other": revision})
    engine.dispose()
    environment = {**os.environ, "CANDELA_DATABASE_URL": f"sqlite:///{path}", "CANDELA_HOME": str(tmp_path)}
    environment["CANDELA_REDIS_URL"] = "redis://127.0.0.1:1/0"
    for command in (["-m", "worker.maintenance"], ["-m", "candela.serve", "127.0.0.1:0"]):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode != 0
        (line,) = (done.stdout + done.stderr).splitlines()
        assert line.startswith("candela: ")
        assert revision in line


def test_row_21_a_locked_sqlite_serves_reads_and_rejects_writes(stack: Stack) -> None:
    """Readers continue; writers wait, and get a 503 if it takes too long."""
    engine = make_engine(stack.database_url)
    job_id = stack.submit_job(epochs=1)
    stack.wait_for_end(job_id)
    with engine.begin() as connection, ThreadPoolExecutor(1) as pool:
        connection.execute(text("UPDATE job SET priority = priority"))
        assert stack.http.get(f"/v1/jobs/{job_id}").status_code == 200
        response = pool.submit(lambda: stack.http.delete(f"/v1/jobs/{job_id}")).result(60)
        assert response.status_code == 503
        assert "Retry-After" in response.headers
    assert stack.http.delete(f"/v1/jobs/{job_id}").status_code == 204
    engine.dispose()
