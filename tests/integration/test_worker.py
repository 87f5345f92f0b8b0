"""The worker among real servers: leaving, a queue that dies, messages that come twice or make no sense."""

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
from tests.support.service import Service

pytestmark = [pytest.mark.services, pytest.mark.slow, pytest.mark.faults, pytest.mark.timeout(600)]


def trainer_of(service: Service, job_id: str) -> int:
    runtime = service.job(job_id).runtime
    assert runtime is not None
    return int(runtime["trainer_pid"])


def test_a_worker_that_is_asked_to_leave_saves_and_another_goes_on_as_if_nothing_was(service: Service) -> None:
    worker = service.start_worker()
    job_id = service.submit()
    service.mid_epoch(job_id)
    trainer = trainer_of(service, job_id)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0, service.logs()
    row = service.job(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.QUEUED, 1, 0), service.logs()
    assert not is_alive(trainer)
    with transaction(service.sessions) as session:
        assert WorkerRepo(session).alive(60.0) == []
    service.start_worker()
    service.start_sweep()
    assert service.finished(job_id).state is JobState.SUCCEEDED
    resumed = service.job(job_id).runtime
    assert resumed is not None
    assert resumed["resumed_from_step"] % 270 != 0  # in the middle of an epoch, where it was asked
    undisturbed = service.submit()
    assert service.finished(undisturbed).state is JobState.SUCCEEDED
    assert service.model(job_id).sha256 == service.model(undisturbed).sha256


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_pause_and_resume_change_no_weight_and_cancel_keeps_what_there_is(service: Service) -> None:
    service.start_worker()
    service.start_sweep()
    undisturbed, paused = service.submit(), service.submit()
    service.finished(undisturbed)
    service.mid_epoch(paused)
    with transaction(service.sessions) as session:
        JobRepo(session).request_stop(paused, StopRequest.PAUSE)
    service.until(paused, lambda row: row.state is JobState.PAUSED, "the pause")
    with transaction(service.sessions) as session:
        JobRepo(session).resume(paused)
    service.finished(paused)
    assert service.model(paused).sha256 == service.model(undisturbed).sha256

    cancelled = service.submit()
    service.mid_epoch(cancelled)
    trainer = trainer_of(service, cancelled)
    with transaction(service.sessions) as session:
        JobRepo(session).request_stop(cancelled, StopRequest.CANCEL)
    row = service.finished(cancelled)
    assert (row.state, row.stop_reason) == (JobState.CANCELLED, "user_cancelled")
    assert row.progress["epoch"] >= 2
    wait_for(lambda: not is_alive(trainer), "the trainer's end", 30)


@pytest.mark.parametrize("server", ["own_valkey", "debian_redis"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_training_goes_on_without_the_queue_and_what_was_posted_meanwhile_is_done_later(
    server: str, service: Service, request: pytest.FixtureRequest
) -> None:
    redis: RedisServer = request.getfixturevalue(server)
    own = Service(service.home, service.database_url, redis.url, service.sessions)
    try:
        own.start_worker()
        own.start_sweep()
        first = own.submit()
        own.mid_epoch(first)
        redis.kill()
        second = own.submit(send=False)
        row = own.finished(first)
        assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1), own.logs()
        redis.empty()
        redis.start()
        assert own.finished(second).state is JobState.SUCCEEDED
        assert own.model(second).sha256 == own.model(first).sha256
    finally:
        own.stop()


@pytest.mark.quick
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_messages_that_come_twenty_times_or_make_no_sense_do_nothing(service: Service, valkey: RedisServer) -> None:
    worker = service.start_worker()
    queue = CeleryQueue(service.redis_url)
    with valkey.client as client:
        client.lpush("train", b"this is no message", b'{"body": "gANdcQAu", "content-type": "application/x-python"}')
    queue.put("train", "no-such-job")
    queue.put("import", "no-such-version")
    job_id = service.submit(epochs=1)
    for _ in range(20):
        queue.put("train", job_id)
    row = service.finished(job_id)
    assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1), service.logs()
    queue.put("train", job_id)
    wait_for(lambda: queue.depth("train") == 0, "the queue to be empty")
    assert worker.poll() is None
    with transaction(service.sessions) as session:
        told = EventRepo(session).since(job_id, 0, types=[EventType.STATE])
    assert [event.payload["to"] for event in told] == ["queued", "running", "succeeded"]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_a_stopped_trainer_is_fenced_when_its_worker_is_stopped_too(service: Service) -> None:
    """Both are frozen past their lease: another worker does the job; when they wake up, nothing of theirs counts."""
    frozen = service.start_worker()
    job_id = service.submit()
    service.mid_epoch(job_id)
    trainer = trainer_of(service, job_id)
    freeze(frozen.pid, service.sqlite)
    os.kill(trainer, signal.SIGSTOP)
    service.start_worker()
    service.start_sweep()
    service.until(job_id, lambda row: row.token == 2, "the other worker")
    os.kill(frozen.pid, signal.SIGCONT)
    os.kill(trainer, signal.SIGCONT)
    wait_for(lambda: not is_alive(trainer), "the stale trainer's end", 30)
    row = service.finished(job_id)
    assert (row.state, row.token, row.model_version) == (JobState.SUCCEEDED, 2, 1)
    undisturbed = service.submit()
    service.finished(undisturbed)
    assert service.model(undisturbed).sha256 == service.model(job_id).sha256
    assert OutboxRelay(service.sessions, CeleryQueue(service.redis_url)).relay() == 0
