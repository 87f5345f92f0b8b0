"""The jobs of sweeps are locked before they are stopped, or their files deleted."""

from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.sweep_jobs import SweepJobRepo
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.tables import JobRow
from core.jobs import UNFINISHED, JobState, StopRequest
from core.storage import LocalStorage
from tests.support.played_sweeps import PlayedSweep
from tests.support.servers import PostgresServer

Change = Callable[[SweepJobRepo, str], object]
CHANGES: dict[str, Change] = {
    "stop": lambda repo, job_id: repo.stop([job_id], StopRequest.CANCEL),
    "resume": lambda repo, job_id: repo.resume([job_id]),
    "delete bundles": lambda repo, job_id: repo.delete_bundles([job_id]),
    "delete checkpoints": lambda repo, job_id: repo.delete_checkpoints([job_id]),
}


@pytest.fixture
def postgres_sweep(postgres: PostgresServer, storage: LocalStorage) -> Iterator[PlayedSweep]:
    """A sweep on PostgreSQL whose first trial is complete, and whose second one is queued."""
    name = postgres.create("candela_template")
    engine = make_engine(postgres.url(name))
    sweep = PlayedSweep(make_session_factory(engine), storage, budget={"trials": 2})
    sweep.run_round()
    sweep.train(0)
    sweep.run_round()
    yield sweep
    engine.dispose()
    postgres.drop(name)


@pytest.mark.services
@pytest.mark.parametrize("name", CHANGES)
def test_a_change_locks_the_job(postgres_sweep: PlayedSweep, name: str) -> None:
    job_id = postgres_sweep.get_job(0).id
    with transaction(postgres_sweep.sessions) as session:
        CHANGES[name](SweepJobRepo(session), job_id)
        with pytest.raises(OperationalError), transaction(postgres_sweep.sessions) as other:
            other.scalars(select(JobRow).where(JobRow.id == job_id).with_for_update(nowait=True)).one()


@pytest.mark.services
@pytest.mark.parametrize("stop_request", [StopRequest.CANCEL, StopRequest.PAUSE])
def test_a_job_that_has_ended_since_it_was_read_is_not_stopped(
    postgres_sweep: PlayedSweep, stop_request: StopRequest
) -> None:
    job_id = postgres_sweep.get_job(1).id
    with transaction(postgres_sweep.sessions) as session:
        job = JobRepo(session).get(job_id)
        assert job.state is JobState.QUEUED
        postgres_sweep.worker.fail(job_id, "diverged")
        SweepJobRepo(session).stop([job_id], stop_request)
    assert postgres_sweep.get_job(1).state is JobState.FAILED


@pytest.mark.services
def test_a_job_that_a_client_has_resumed_since_it_was_read_is_not_resumed_again(postgres_sweep: PlayedSweep) -> None:
    postgres_sweep.request(lambda repo: repo.pause(postgres_sweep.id))
    postgres_sweep.run_round()
    job_id = postgres_sweep.get_job(1).id
    with transaction(postgres_sweep.sessions) as session:
        job = JobRepo(session).get(job_id)
        assert job.stop_reason == "sweep_paused"
        with transaction(postgres_sweep.sessions) as other:
            JobRepo(other).resume(job_id)
        SweepJobRepo(session).resume([job_id])
    assert postgres_sweep.get_job(1).state is JobState.QUEUED


def test_a_network_that_was_registered_meanwhile_remains(sessions: SessionFactory, storage: LocalStorage) -> None:
    sweep = PlayedSweep(sessions, storage, budget={"trials": 2}, keep={"best": 2})
    sweep.run_round()
    sweep.train(0)
    sweep.run_round()
    sweep.train(1)
    jobs = [sweep.get_job(number).id for number in range(2)]
    with transaction(sessions) as session:
        repo = SweepJobRepo(session)
        listed = repo.list_jobs_with_bundle(sweep.id, [0, 1], 10)
        assert listed == jobs
        assert repo.list_jobs_with_bundle(sweep.id, [0, 1], 1) == jobs[:1]
    with transaction(sessions) as session:
        JobBundleRepo(session).register(jobs[0])
    with transaction(sessions) as session:
        (key,) = SweepJobRepo(session).delete_bundles(listed)
    assert jobs[1] in key


def test_the_jobs_of_trials_or_in_states_are_listed(sessions: SessionFactory, storage: LocalStorage) -> None:
    sweep = PlayedSweep(sessions, storage, budget={"trials": 3}, parallel=2, repeats=2)
    sweep.run_round()
    sweep.train(0, repeat=1)
    with transaction(sessions, read_only=True) as session:
        repo = SweepJobRepo(session)
        assert [job.trial for job in repo.list_trial_jobs(sweep.id)] == [0, 0, 1, 1]
        assert [job.id for job in repo.list_trial_jobs(sweep.id, [1])] == [sweep.get_job(1, each).id for each in (0, 1)]
        unfinished = repo.list_trial_jobs(sweep.id, [0], states=UNFINISHED)
        assert [(job.id, job.state) for job in unfinished] == [(sweep.get_job(0, 0).id, JobState.QUEUED)]
