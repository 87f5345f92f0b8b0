"""Claims, leases and fencing: only one attempt at a time can change a job."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from core.db.repos.attempts import AttemptRepo, EpochMetrics
from core.db.repos.events import EventRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import LostLease
from core.events import EventType
from core.failures import build_failure
from core.jobs import DatasetState, JobState, StopRequest


def claim(sessions: SessionFactory, job_id: str, lease_s: float = 30.0, max_attempts: int = 5) -> JobRow | None:
    with transaction(sessions) as session:
        return AttemptRepo(session).claim(job_id, "worker-1", lease_s, max_attempts)


def claim_job(sessions: SessionFactory, job_id: str, lease_s: float = 30.0) -> JobRow:
    job = claim(sessions, job_id, lease_s)
    assert job is not None
    return job


def test_one_of_twenty_concurrent_claims_succeeds(sessions: SessionFactory, queued: JobRow) -> None:
    start = threading.Barrier(20)

    def claim_at_once(_: int) -> JobRow | None:
        start.wait()
        return claim(sessions, queued.id)

    with ThreadPoolExecutor(20) as pool:
        claimed = [job for job in pool.map(claim_at_once, range(20)) if job is not None]
    assert [(job.state, job.attempt, job.token) for job in claimed] == [(JobState.RUNNING, 1, 1)]
    assert claimed[0].spec["epochs"] == 1


def test_a_job_with_an_expired_lease_is_claimed_again_and_the_old_attempt_is_fenced(
    sessions: SessionFactory, queued: JobRow
) -> None:
    old = claim_job(sessions, queued.id, lease_s=-1.0)
    new = claim_job(sessions, queued.id)
    assert (new.token, new.attempt, new.lost_attempts) == (2, 2, 1)
    writes: list[Callable[[AttemptRepo], object]] = [
        lambda repo: repo.renew_lease(queued.id, old.token, 30.0),
        lambda repo: repo.complete_with_model(queued.id, old.token, 1, {}, None),
        lambda repo: repo.fail(queued.id, old.token, build_failure("worker_lost")),
        lambda repo: repo.release(queued.id, old.token, "worker stopped"),
        lambda repo: repo.get_stop_request(queued.id, old.token),
        lambda repo: repo.requeue_or_fail(queued.id, old.token, build_failure("worker_lost")),
        lambda repo: repo.record_progress(queued.id, old.token, {"epoch": 9}, {}),
        lambda repo: repo.set_runtime(queued.id, old.token, {}),
    ]
    for write in writes:
        with pytest.raises(LostLease), transaction(sessions) as session:
            write(AttemptRepo(session))
    with transaction(sessions) as session:
        job = JobRepo(session).get(queued.id)
        assert (job.state, job.token, job.progress, job.model_version) == (JobState.RUNNING, 2, {}, None)
        AttemptRepo(session).complete_with_model(queued.id, new.token, 1, {}, None)


def test_a_renewed_lease_does_not_expire(sessions: SessionFactory, queued: JobRow) -> None:
    job = claim_job(sessions, queued.id)
    with transaction(sessions) as session:
        assert AttemptRepo(session).renew_lease(queued.id, job.token, 30.0) is None
        assert AttemptRepo(session).find_expired_ids() == []
        assert AttemptRepo(session).release_expired_lease(queued.id) is None
    assert claim(sessions, queued.id) is None


def test_renewing_the_lease_returns_the_stop_request(sessions: SessionFactory, queued: JobRow) -> None:
    job = claim_job(sessions, queued.id)
    with transaction(sessions) as session:
        JobRepo(session).request_stop(queued.id, StopRequest.PAUSE)
        assert AttemptRepo(session).renew_lease(queued.id, job.token, 30.0) is StopRequest.PAUSE


@pytest.mark.parametrize("state", [DatasetState.IMPORTING, DatasetState.FAILED])
def test_a_job_is_not_claimed_before_its_dataset_is_ready(
    sessions: SessionFactory, queued: JobRow, state: DatasetState
) -> None:
    with transaction(sessions) as session:
        version = session.get(DatasetVersionRow, queued.dataset_version_id)
        assert version is not None
        version.state = state
    assert claim(sessions, queued.id) is None
    with transaction(sessions) as session:
        assert JobQueueRepo(session).find_next_id() is None


def test_a_lost_job_is_queued_again_up_to_the_retry_limit(sessions: SessionFactory, queued: JobRow) -> None:
    for _ in range(2):
        claim_job(sessions, queued.id, lease_s=-1.0)
        with transaction(sessions) as session:
            assert AttemptRepo(session).find_expired_ids() == [queued.id]
            lost = AttemptRepo(session).release_expired_lease(queued.id, max_attempts=3)
            assert lost is not None
            assert lost.state is JobState.QUEUED
    claim_job(sessions, queued.id, lease_s=-1.0)
    assert claim(sessions, queued.id, max_attempts=3) is None
    with transaction(sessions) as session:
        job = JobRepo(session).get(queued.id)
        assert job.state is JobState.FAILED
        assert job.failure is not None
        assert (job.failure["code"], job.failure["attempts"], job.owner) == ("worker_lost", 3, None)


@pytest.mark.parametrize(
    ("stop_request", "state"), [(StopRequest.CANCEL, JobState.CANCELLED), (StopRequest.PAUSE, JobState.PAUSED)]
)
def test_a_lost_job_with_a_stop_request_is_stopped(
    sessions: SessionFactory, queued: JobRow, stop_request: StopRequest, state: JobState
) -> None:
    claim_job(sessions, queued.id, lease_s=-1.0)
    with transaction(sessions) as session:
        JobRepo(session).request_stop(queued.id, stop_request)
        lost = AttemptRepo(session).release_expired_lease(queued.id)
        assert lost is not None
        assert (lost.state, lost.stop_request, lost.lease_until) == (state, None, None)


def test_a_released_attempt_is_not_counted_and_keeps_the_finish_request(
    sessions: SessionFactory, queued: JobRow
) -> None:
    job = claim_job(sessions, queued.id)
    with transaction(sessions) as session:
        JobRepo(session).request_stop(queued.id, StopRequest.FINISH)
        AttemptRepo(session).release(queued.id, job.token, "preempted")
    again = claim_job(sessions, queued.id)
    assert (again.attempt, again.lost_attempts, again.stop_request) == (2, 0, StopRequest.FINISH)


def test_each_state_change_is_an_event_and_the_end_is_the_last(sessions: SessionFactory, queued: JobRow) -> None:
    job = claim_job(sessions, queued.id)
    with transaction(sessions) as session:
        AttemptRepo(session).complete_with_model(queued.id, job.token, 3, {"valid_accuracy": 0.5}, "early_stopping")
    with transaction(sessions) as session:
        events = EventRepo(session).list_after(queued.id, 0)
        assert [(e.seq, e.type) for e in events] == [
            (1, EventType.STATE),
            (2, EventType.STATE),
            (3, EventType.STATE),
            (4, EventType.END),
        ]
        assert [e.payload["to"] for e in EventRepo(session).list_transitions(queued.id)] == [
            "queued",
            "running",
            "succeeded",
        ]
        done = JobRepo(session).get(queued.id)
        assert (done.metrics, done.stop_reason, done.model_version) == ({"valid_accuracy": 0.5}, "early_stopping", 3)
        assert done.finished_at is not None


def test_an_old_queued_job_without_a_message_is_found(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        repo = JobQueueRepo(session)
        assert repo.find_ids_without_message(older_than_s=-1.0) == [queued.id]
        assert repo.find_ids_without_message(older_than_s=60.0) == []
        OutboxRepo(session).add("train", queued.id)
        assert repo.find_ids_without_message(older_than_s=-1.0) == []


def test_running_metrics_are_stored_in_the_first_epoch_only(sessions: SessionFactory, queued: JobRow) -> None:
    job = claim_job(sessions, queued.id)

    def read_metrics(progress: dict[str, Any], running: dict[str, Any]) -> dict[str, Any]:
        with transaction(sessions) as session:
            AttemptRepo(session).record_progress(queued.id, job.token, progress, running)
            return dict(JobRepo(session).get(queued.id).metrics)

    assert read_metrics({"epoch": 1}, {"train_loss": 3.0}) == {"train_loss": 3.0}
    with transaction(sessions) as session:
        AttemptRepo(session).record_progress(
            queued.id, job.token, {"epoch": 1}, None, EpochMetrics({"train_loss": 2.0}, None)
        )
    assert read_metrics({"epoch": 2}, {"train_loss": 9.0}) == {"train_loss": 2.0}
