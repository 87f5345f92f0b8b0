"""A queue that is killed, emptied, hangs or is full: training continues and no job is lost or run twice."""

from pathlib import Path

import pytest

from core.jobs import JobState
from core.queue import CeleryQueue
from tests.support import invariants
from tests.support.processes import wait_for
from tests.support.proxy import run_proxy
from tests.support.servers import RedisServer
from tests.support.stack import NUM_EPOCHS_LONG, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.mark.quick
def test_rows_12_and_13_jobs_survive_a_queue_that_restarts_empty(stack: Stack, stack_valkey: RedisServer) -> None:
    first = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(first)
    stack_valkey.kill()
    second = stack.submit_job(epochs=2)  # 202: the outbox holds the message
    assert stack.http.get(f"/v1/jobs/{first}").json()["state"] in {"running", "succeeded"}
    row = stack.wait_for_end(first)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1), stack.read_logs()
    stack_valkey.empty()
    stack_valkey.start()
    row = stack.wait_for_end(second)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1)
    assert stack.get_weights_sha256(first) == stack.compute_reference_sha256(epochs=NUM_EPOCHS_LONG)


def test_row_16_jobs_survive_a_flushed_queue(stack: Stack, stack_valkey: RedisServer) -> None:
    first = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(first)
    others = [stack.submit_job(epochs=1) for _ in range(3)]
    with stack_valkey.client as client:
        client.flushall()
    assert [stack.wait_for_end(job_id).attempt for job_id in (first, *others)] == [1, 1, 1, 1]


def test_row_9_repeated_messages_run_a_job_once(stack: Stack) -> None:
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    queue = CeleryQueue(stack.redis_url)
    for _ in range(20):
        queue.put("train", job_id)
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1)
    wait_for(lambda: queue.depth("train") == 0, "the queue to be empty")


def test_row_14_a_hanging_queue_blocks_no_request(stack: Stack, stack_valkey: RedisServer, tmp_path: Path) -> None:
    """An API with a half-open connection to the queue accepts jobs at once; another outbox relay sends them."""
    with run_proxy(stack_valkey.socket) as proxy:
        own = Stack(tmp_path / "home", stack.database_url, f"redis://127.0.0.1:{proxy.port}/0", stack.sessions)
        (own.home).mkdir()
        (own.home / "store").symlink_to(stack.home / "store")
        try:
            own.start_api()
            wait_for(own.is_ready, "the API", 120)
            proxy.is_stalled = True
            ids = [own.submit_job(epochs=1) for _ in range(3)]
            assert all(own.http.get(f"/v1/jobs/{job_id}").status_code == 200 for job_id in ids)
            assert own.http.get("/health/ready").status_code == 503
            proxy.is_stalled = False
            wait_for(own.is_ready, "the API to be ready again")
            assert [stack.wait_for_end(job_id).state for job_id in ids] == [JobState.SUCCEEDED] * 3
        finally:
            proxy.is_stalled = False
            own.close()


def test_row_15_a_queue_without_memory_loses_no_job(stack: Stack, stack_valkey: RedisServer) -> None:
    with stack_valkey.client as client:
        client.config_set("maxmemory", "1")
    try:
        job_id = stack.submit_job(epochs=1)
        assert stack.get_job(job_id).state is not JobState.FAILED
    finally:
        with stack_valkey.client as client:
            client.config_set("maxmemory", "0")
    assert stack.wait_for_end(job_id).state is JobState.SUCCEEDED


def test_row_102_a_second_maintenance_loop_changes_nothing(stack: Stack) -> None:
    second = stack.start_maintenance()
    ids = [stack.submit_job(epochs=NUM_EPOCHS_LONG), *(stack.submit_job(epochs=1) for _ in range(3))]
    trainer = stack.wait_for_epoch(ids[0])
    assert stack.worker is not None
    stack.worker.kill()
    stack.worker.wait()
    stack.start_missing()
    rows = [stack.wait_for_end(job_id) for job_id in ids]
    assert [(row.state, row.attempt) for row in rows] == [(JobState.SUCCEEDED, 2), *[(JobState.SUCCEEDED, 1)] * 3]
    assert str(trainer) not in str(invariants.list_orphans(stack))
    second.terminate()
    assert second.wait(30) == 0
