"""The worker with real servers: shutdown, a killed queue, repeated and malformed messages."""

import os
import signal

import pytest

from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import transaction
from core.events import EventType
from core.jobs import JobState, StopRequest
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from tests.support.processes import freeze, is_alive, wait_for
from tests.support.servers import RedisServer
from tests.support.service import WorkerProcesses

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]


def get_trainer_pid(service: WorkerProcesses, job_id: str) -> int:
    runtime = service.get_job(job_id).runtime
    assert runtime is not None
    return int(runtime["trainer_pid"])


def test_a_terminated_worker_saves_and_another_one_resumes(service: WorkerProcesses) -> None:
    worker = service.start_worker()
    job_id = service.submit()
    service.wait_for_mid_epoch(job_id)
    trainer = get_trainer_pid(service, job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0, service.read_logs()
    row = service.get_job(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.QUEUED, 1, 0), service.read_logs()
    assert not is_alive(trainer)
    with transaction(service.sessions) as session:
        assert WorkerRepo(session).list_alive(60.0) == []
    service.start_worker()
    service.start_maintenance()
    assert service.wait_for_end(job_id).state is JobState.SUCCEEDED
    resumed = service.get_job(job_id).runtime
    assert resumed is not None
    assert resumed["resumed_from_step"] % 270 != 0  # in the middle of an epoch, where it was preempted
    undisturbed = service.submit()
    assert service.wait_for_end(undisturbed).state is JobState.SUCCEEDED
    assert service.get_model(job_id).sha256 == service.get_model(undisturbed).sha256


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pause_and_resume_change_no_weights_and_cancel_ends_the_trainer(service: WorkerProcesses) -> None:
    service.start_worker()
    service.start_maintenance()
    undisturbed, paused = service.submit(), service.submit()
    service.wait_for_end(undisturbed)
    service.wait_for_mid_epoch(paused)
    with transaction(service.sessions) as session:
        JobRepo(session).request_stop(paused, StopRequest.PAUSE)
    service.wait_until(paused, lambda row: row.state is JobState.PAUSED, "the pause")
    with transaction(service.sessions) as session:
        JobRepo(session).resume(paused)
    service.wait_for_end(paused)
    assert service.get_model(paused).sha256 == service.get_model(undisturbed).sha256

    cancelled = service.submit()
    service.wait_for_mid_epoch(cancelled)
    trainer = get_trainer_pid(service, cancelled)
    with transaction(service.sessions) as session:
        JobRepo(session).request_stop(cancelled, StopRequest.CANCEL)
    row = service.wait_for_end(cancelled)
    assert (row.state, row.stop_reason) == (JobState.CANCELLED, "user_cancelled")
    assert row.progress["epoch"] >= 2
    wait_for(lambda: not is_alive(trainer), "the end of the trainer", 30)


@pytest.mark.parametrize("server", ["own_valkey", "debian_redis"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_training_continues_without_the_queue_and_later_jobs_run(
    server: str, service: WorkerProcesses, request: pytest.FixtureRequest
) -> None:
    redis: RedisServer = request.getfixturevalue(server)
    own = WorkerProcesses(service.home, service.database_url, redis.url, service.sessions)
    try:
        own.start_worker()
        own.start_maintenance()
        first = own.submit()
        own.wait_for_mid_epoch(first)
        redis.kill()
        second = own.submit(send=False)
        row = own.wait_for_end(first)
        assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1), own.read_logs()
        redis.empty()
        redis.start()
        assert own.wait_for_end(second).state is JobState.SUCCEEDED
        assert own.get_model(second).sha256 == own.get_model(first).sha256
    finally:
        own.stop()


@pytest.mark.quick
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_repeated_and_malformed_messages_do_nothing(service: WorkerProcesses, valkey: RedisServer) -> None:
    worker = service.start_worker()
    queue = CeleryQueue(service.redis_url)
    with valkey.client as client:
        client.lpush("train", b"not a message", b'{"body": "gANdcQAu", "content-type": "application/x-python"}')
    queue.put("train", "no-such-job")
    queue.put("import", "no-such-version")
    job_id = service.submit(epochs=1)
    for _ in range(20):
        queue.put("train", job_id)
    row = service.wait_for_end(job_id)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1), service.read_logs()
    queue.put("train", job_id)
    wait_for(lambda: queue.depth("train") == 0, "the queue to be empty")
    assert worker.poll() is None
    with transaction(service.sessions) as session:
        events = EventRepo(session).list_after(job_id, 0, types=[EventType.STATE])
    assert [event.payload["to"] for event in events] == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_frozen_worker_and_trainer_are_fenced(service: WorkerProcesses) -> None:
    """Both are frozen past their lease; another worker runs the job, and what they write afterwards is rejected."""
    frozen = service.start_worker()
    job_id = service.submit()
    service.wait_for_mid_epoch(job_id)
    trainer = get_trainer_pid(service, job_id)
    freeze(frozen.pid, service.sqlite)
    os.kill(trainer, signal.SIGSTOP)
    service.start_worker()
    service.start_maintenance()
    service.wait_until(job_id, lambda row: row.token == 2, "the other worker")
    os.kill(frozen.pid, signal.SIGCONT)
    os.kill(trainer, signal.SIGCONT)
    wait_for(lambda: not is_alive(trainer), "the end of the stale trainer", 30)
    row = service.wait_for_end(job_id)
    assert (row.state, row.token, row.model_version) == (JobState.SUCCEEDED, 2, 1)
    undisturbed = service.submit()
    service.wait_for_end(undisturbed)
    assert service.get_model(undisturbed).sha256 == service.get_model(job_id).sha256
    assert OutboxRelay(service.sessions, CeleryQueue(service.redis_url)).relay() == 0
