"""Attempts that stop at a milestone, with a trainer that follows a script."""

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.events import EventType
from core.jobs import JobState, StopRequest
from tests.support.supervision import SupervisorFactory, running_attempt

S = JobState
PausedJob = tuple[JobState, str | None, int]
NOT_AT_MILESTONE = 0


def describe(job: JobRow) -> PausedJob:
    return job.state, job.stop_reason, job.milestone_epoch


@pytest.fixture
def read_log(sqlite_sessions: SessionFactory, queued: JobRow) -> Callable[[], list[str]]:
    """Reads the lines of the job's log."""

    def read() -> list[str]:
        with transaction(sqlite_sessions, read_only=True) as session:
            events = EventRepo(session).list_after(queued.id, 0, types=[EventType.LOG])
            return [event.payload["message"] for event in events]

    return read


def resume(sessions: SessionFactory, job_id: str) -> None:
    with transaction(sessions) as session:
        JobRepo(session).resume(job_id)


def test_a_job_pauses_at_a_milestone_and_continues_when_it_is_resumed(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any, read_log: Any
) -> None:
    supervisor = make_supervisor("reach a milestone")
    assert supervisor.run(get_job().id)
    job = get_job()
    assert (describe(job), job.lost_attempts, job.owner) == ((S.PAUSED, "milestone", 3), 0, None)
    assert read_log()[-1].startswith("Paused at the milestone of epoch 3, after ")
    with transaction(sqlite_sessions, read_only=True) as session:
        last = EventRepo(session).list_transitions(job.id)[-1].payload
    assert last == {"from": "running", "to": "paused", "reason": "milestone"}
    resume(sqlite_sessions, job.id)
    assert describe(get_job()) == (S.QUEUED, None, 3)
    supervisor.run(job.id)
    assert (describe(get_job()), get_job().attempt) == ((S.SUCCEEDED, None, 3), 2)


def test_a_job_killed_after_the_checkpoint_of_a_milestone_pauses_there(
    make_supervisor: SupervisorFactory, get_job: Any
) -> None:
    supervisor = make_supervisor("be killed at a milestone")
    supervisor.run(get_job().id)
    assert (describe(get_job()), get_job().lost_attempts) == ((S.QUEUED, None, NOT_AT_MILESTONE), 1)
    supervisor.run(get_job().id)
    assert (describe(get_job()), get_job().lost_attempts) == ((S.PAUSED, "milestone", 3), 1)


@pytest.mark.parametrize(
    ("stop_request", "expected", "line"),
    [
        (StopRequest.CANCEL, (S.CANCELLED, "user_cancelled", NOT_AT_MILESTONE), "Cancelled, after "),
        (StopRequest.PAUSE, (S.PAUSED, "user_paused", NOT_AT_MILESTONE), "Paused, after "),
        (StopRequest.FINISH, (S.QUEUED, None, NOT_AT_MILESTONE), "An early finish was requested at a milestone"),
    ],
)
def test_a_request_of_a_client_at_a_milestone_wins(
    make_supervisor: SupervisorFactory,
    sqlite_sessions: SessionFactory,
    get_job: Any,
    read_log: Any,
    stop_request: StopRequest,
    expected: PausedJob,
    line: str,
) -> None:
    supervisor = make_supervisor("reach a milestone when requested")
    with running_attempt(supervisor, get_job), transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(get_job().id, stop_request)
    assert (describe(get_job()), get_job().lost_attempts) == (expected, 0)
    assert read_log()[-1].startswith(line)


def test_a_job_that_is_to_finish_at_a_milestone_is_completed_by_the_next_attempt(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    supervisor = make_supervisor("reach a milestone when requested")
    with running_attempt(supervisor, get_job), transaction(sqlite_sessions) as session:
        JobRepo(session).request_stop(get_job().id, StopRequest.FINISH)
    make_supervisor("stop when requested").run(get_job().id)  # the request is sent again
    assert (get_job().state, get_job().stop_request) == (S.SUCCEEDED, None)


def test_a_job_at_a_milestone_pauses_although_its_worker_shuts_down(
    make_supervisor: SupervisorFactory, get_job: Any
) -> None:
    supervisor = make_supervisor("reach a milestone when requested")
    with running_attempt(supervisor, get_job):
        supervisor.request_shutdown()
    assert describe(get_job()) == (S.PAUSED, "milestone", 3)


def test_a_job_over_its_time_limit_fails_at_a_milestone(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: Any
) -> None:
    with transaction(sqlite_sessions) as session:
        (job,) = session.scalars(select(JobRow))
        job.spec = {**job.spec, "max_runtime_s": 0.05}
    make_supervisor("reach a milestone when requested").run(get_job().id)
    assert (get_job().state, get_job().failure["code"]) == (S.FAILED, "time_limit")
