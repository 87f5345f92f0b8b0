"""The reaper releases the jobs of lost workers, and its rounds are idempotent."""

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.jobs import JobState, StopRequest
from tests.support.builders import job
from tests.support.outbox import list_messages
from worker.maintenance.reaper import LostJobReaper


@pytest.fixture
def reaper(sessions: SessionFactory, wake_ups: list[str]) -> LostJobReaper:
    return LostJobReaper(sessions, 3, lambda: wake_ups.append("wake"))


def get_state(sessions: SessionFactory, job_id: str) -> JobState:
    with transaction(sessions) as session:
        return JobRepo(session).get(job_id).state


def lose_worker(sessions: SessionFactory, job_id: str, stop_request: StopRequest | None = None) -> None:
    """Let the lease of the job's worker expire."""
    with transaction(sessions) as session:
        assert AttemptRepo(session).claim(job_id, "w", -1.0, max_attempts=3) is not None
        if stop_request is not None:
            JobRepo(session).request_stop(job_id, stop_request)


def test_a_job_of_a_lost_worker_is_queued_and_sent_once(
    reaper: LostJobReaper, sessions: SessionFactory, queued: JobRow, wake_ups: list[str]
) -> None:
    lose_worker(sessions, queued.id)
    reaper.run_once()
    reaper.run_once()
    assert get_state(sessions, queued.id) is JobState.QUEUED
    assert list_messages(sessions) == [("train", queued.id)]
    assert wake_ups == ["wake"]


def test_a_job_fails_at_the_retry_limit(reaper: LostJobReaper, sessions: SessionFactory, queued: JobRow) -> None:
    for _ in range(3):
        lose_worker(sessions, queued.id)
        reaper.run_once()
    with transaction(sessions) as session:
        failed = JobRepo(session).get(queued.id)
        assert failed.state is JobState.FAILED
        assert failed.failure is not None
        assert failed.failure["code"] == "worker_lost"


@pytest.mark.parametrize(
    ("stop_request", "state"), [(StopRequest.CANCEL, JobState.CANCELLED), (StopRequest.PAUSE, JobState.PAUSED)]
)
def test_a_stop_request_is_completed_when_the_worker_was_lost(
    reaper: LostJobReaper, sessions: SessionFactory, queued: JobRow, stop_request: StopRequest, state: JobState
) -> None:
    lose_worker(sessions, queued.id, stop_request)
    reaper.run_once()
    assert get_state(sessions, queued.id) is state


def test_a_job_with_a_lease_is_not_changed(reaper: LostJobReaper, sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        AttemptRepo(session).claim(queued.id, "w", 60.0)
    reaper.run_once()
    assert get_state(sessions, queued.id) is JobState.RUNNING
    assert list_messages(sessions) == []


def test_a_round_releases_all_lost_jobs(reaper: LostJobReaper, sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, queued.dataset_version_id)
        ids = [JobRepo(session).add(job(version)).id for _ in range(120)]
        for job_id in ids:
            AttemptRepo(session).claim(job_id, "w", -1.0)
    reaper.run_once()
    assert {get_state(sessions, job_id) for job_id in ids} == {JobState.QUEUED}
