"""A supervisor claims jobs, one attempt at a time, until its worker shuts down."""

from core.db.repos.attempts import AttemptRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.jobs import JobState
from tests.support.supervision import GetJob, SupervisorFactory


def test_a_job_of_another_worker_is_not_run(make_supervisor: SupervisorFactory, claimed: JobRow) -> None:
    assert not make_supervisor("succeed").run(claimed.id)


def test_a_missing_job_is_not_run(make_supervisor: SupervisorFactory) -> None:
    assert not make_supervisor("succeed").run("no-such-job")


def test_no_job_is_claimed_after_a_shutdown_request(make_supervisor: SupervisorFactory, get_job: GetJob) -> None:
    supervisor = make_supervisor("succeed")
    supervisor.request_shutdown()
    assert not supervisor.run(get_job().id)
    assert (get_job().state, get_job().attempt) == (JobState.QUEUED, 0)


def test_a_job_with_an_expired_lease_is_run_again(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory, get_job: GetJob
) -> None:
    with transaction(sqlite_sessions) as session:
        AttemptRepo(session).claim(get_job().id, "worker-2", -1.0)
    assert make_supervisor("succeed").run(get_job().id)
    assert (get_job().state, get_job().attempt, get_job().lost_attempts) == (JobState.SUCCEEDED, 2, 1)


def test_the_next_job_is_claimed_and_run(make_supervisor: SupervisorFactory, get_job: GetJob) -> None:
    assert get_job().state is JobState.QUEUED
    supervisor = make_supervisor("succeed")
    assert supervisor.run_next() is True
    assert (get_job().state, get_job().attempt) == (JobState.SUCCEEDED, 1)
    assert supervisor.run_next() is None


def test_a_search_without_a_job_writes_nothing(
    make_supervisor: SupervisorFactory, sqlite_sessions: SessionFactory
) -> None:
    supervisor = make_supervisor("succeed")
    with transaction(sqlite_sessions) as session:
        session.connection()  # holds SQLite's write lock
        assert supervisor.run_next() is None


def test_no_next_job_is_claimed_after_a_shutdown_request(make_supervisor: SupervisorFactory, get_job: GetJob) -> None:
    assert get_job().state is JobState.QUEUED
    supervisor = make_supervisor("succeed")
    supervisor.request_shutdown()
    assert supervisor.run_next() is None
    assert get_job().attempt == 0
