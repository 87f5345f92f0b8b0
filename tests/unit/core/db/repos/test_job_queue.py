"""The queries of the queue return the right jobs, and read only few rows however many jobs are queued."""

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text, update
from sqlalchemy.orm import Session

from core.db.clock import utc_now
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.placement import WorkerCapacity
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.jobs import DatasetState, JobState
from tests.support.builders import dataset_version, job, job_spec
from tests.support.database_work import measure_work, update_planner_statistics
from tests.support.full_queue import fill_queue

CPU = WorkerCapacity.from_devices(["cpu"], 2)
GPU = WorkerCapacity.from_devices(["cpu", "cuda:0"], 2)
GROWTH = 9  # times as many jobs are added, so that there are ten times as many
NUM_JOBS = 1000
KEY = "jobs/x/t1/checkpoints/1"

Call = Callable[[Session], object]
CALLS: dict[str, Call] = {
    "next job of a CPU worker": lambda session: JobQueueRepo(session).find_next_id(CPU),
    "next job of a GPU worker": lambda session: JobQueueRepo(session).find_next_id(GPU),
    "claim of the next job, CPU": lambda session: AttemptRepo(session).claim_next("w", 60.0, CPU),
    "claim of the next job, GPU": lambda session: AttemptRepo(session).claim_next("w", 60.0, GPU),
    "resolvable jobs": lambda session: JobQueueRepo(session).find_resolvable_ids(),
    "lost messages, CPU": lambda session: JobQueueRepo(session).find_ids_without_message(10, 10, gpu=False),
    "lost messages, GPU": lambda session: JobQueueRepo(session).find_ids_without_message(10, 10, gpu=True),
    "lost messages": lambda session: JobQueueRepo(session).find_ids_without_message(10, 10),
    "lost jobs": lambda session: AttemptRepo(session).find_expired_ids(),
    "missing message": lambda session: OutboxRepo(session).add_missing("train", "x"),
    "jobs that start from a job": lambda session: CheckpointRepo(session).find_dependents("x"),
    "checkpoint keys": lambda session: CheckpointRepo(session).filter_keys([KEY]),
    "model keys": lambda session: ModelRepo(session).filter_keys([KEY]),
}


def fill_queues(sessions: SessionFactory, num_jobs: int) -> None:
    """Add queued CPU jobs, finished jobs, and jobs that wait for a dataset which is being imported."""
    fill_queue(sessions, num_jobs, num_finished=num_jobs)
    waiting = fill_queue(sessions, num_jobs // 2, is_resolved=False, dataset_state=DatasetState.IMPORTING)
    assert waiting == []
    with transaction(sessions) as session:
        for number in range(num_jobs // 10):
            OutboxRepo(session).add("train", f"{num_jobs}-{number}")


def test_work_does_not_grow_with_the_number_of_jobs(engine: Engine, sessions: SessionFactory) -> None:
    work: dict[str, list[int]] = {name: [] for name in CALLS}
    for num_jobs in (NUM_JOBS, GROWTH * NUM_JOBS):
        fill_queues(sessions, num_jobs)
        update_planner_statistics(engine)
        for name, call in CALLS.items():
            work[name].append(measure_work(sessions, call))
    floor = 200 if engine.dialect.name == "sqlite" else 20  # a few rows or instructions more are no growth
    growing = {name: counts for name, counts in work.items() if counts[1] > 2 * max(counts[0], floor)}
    assert growing == {}


def test_work_on_gpu_jobs_does_not_grow_with_the_number_of_cpu_jobs(engine: Engine, sessions: SessionFactory) -> None:
    """A worker without a GPU finds its job behind many jobs that require one."""
    fill_queue(sessions, 2000, device="cuda")
    fill_queue(sessions, 10)
    update_planner_statistics(engine)
    limit = 2000 if engine.dialect.name == "sqlite" else 100
    assert measure_work(sessions, CALLS["next job of a CPU worker"]) < limit
    assert measure_work(sessions, CALLS["lost messages, CPU"]) < 2 * limit
    with transaction(sessions) as session:
        assert JobQueueRepo(session).find_next_id(CPU) is not None


@pytest.fixture
def version(sessions: SessionFactory) -> DatasetVersionRow:
    with transaction(sessions) as session:
        session.add(version := dataset_version())
    return version


def test_jobs_are_claimed_in_the_order_of_the_queue(sessions: SessionFactory, version: DatasetVersionRow) -> None:
    with transaction(sessions) as session:
        low, first, second, high = (JobRepo(session).add(job(version, priority=p)).id for p in (-1, 0, 0, 1))
    claimed = []
    for _ in range(5):
        with transaction(sessions) as session:
            row = AttemptRepo(session).claim_next("w", 60.0)
            claimed.append(None if row is None else row.id)
            assert row is None or (row.state, row.owner, row.token) == (JobState.RUNNING, "w", 1)
    assert claimed == [high, first, second, low, None]


def test_a_large_job_is_not_overtaken(sessions: SessionFactory, version: DatasetVersionRow) -> None:
    with transaction(sessions) as session:
        large = JobRepo(session).add(job(version, spec=job_spec(resources={"devices": 2}))).id
        JobRepo(session).add(job(version))
    with transaction(sessions) as session:
        assert AttemptRepo(session).claim_next("w", 60.0, CPU, max_slots=1) is None
        claimed = AttemptRepo(session).claim_next("w", 60.0, CPU, max_slots=2)
        assert claimed is not None
        assert claimed.id == large


@pytest.mark.services
def test_a_large_job_is_not_overtaken_by_claims_at_the_same_time(
    sessions: SessionFactory, version: DatasetVersionRow
) -> None:
    if sessions.kw["bind"].dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    with transaction(sessions) as session:
        JobRepo(session).add(job(version, spec=job_spec(resources={"devices": 2})))
        JobRepo(session).add(job(version))
    with transaction(sessions) as session, transaction(sessions) as other:
        assert [AttemptRepo(each).claim_next("w", 60.0, CPU) for each in (session, other)] == [None, None]


def test_the_next_job_must_be_small_enough(sessions: SessionFactory, version: DatasetVersionRow) -> None:
    one_slot = WorkerCapacity.from_devices(["cpu"], 1)
    with transaction(sessions) as session:
        queue, jobs = JobQueueRepo(session), JobRepo(session)
        assert not queue.has_next(CPU)
        jobs.add(job(version, spec=job_spec(resources={"devices": 2})))
        assert [queue.has_next(CPU), queue.has_next(CPU, max_slots=2), queue.has_next(one_slot)] == [False, True, False]
        jobs.add(job(version))
        assert [queue.has_next(CPU), queue.has_next(one_slot)] == [False, True]
        jobs.add(job(version, priority=1))
        assert queue.has_next(CPU)


def test_jobs_that_cannot_run_are_not_claimed(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        importing = dataset_version(state=DatasetState.IMPORTING)
        ready = dataset_version()
        session.add_all([importing, ready])
        session.flush()
        JobRepo(session).add(job(importing))
        JobRepo(session).add(job(ready, is_resolved=False))
        JobRepo(session).add(job(ready, spec=job_spec(device="cuda")))
    with transaction(sessions) as session:
        assert AttemptRepo(session).claim_next("w", 60.0, CPU) is None
        without_dataset = JobRow(kind="register", name="x", model_name="x", spec={"kind": "register"})
        job_id = JobRepo(session).add(without_dataset).id
        claimed = AttemptRepo(session).claim_next("w", 60.0, CPU)
        assert claimed is not None
        assert claimed.id == job_id


def test_workers_that_claim_at_the_same_time_get_different_jobs(
    sessions: SessionFactory, version: DatasetVersionRow
) -> None:
    with transaction(sessions) as session:
        ids = [JobRepo(session).add(job(version)).id for _ in range(40)]

    def claim(_: int) -> str:
        with transaction(sessions) as session:
            row = AttemptRepo(session).claim_next("w", 60.0)
            assert row is not None, "a race was lost"
            return row.id

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, ids)) == sorted(ids)


@pytest.mark.services
def test_a_claim_does_not_wait_for_another_one(sessions: SessionFactory, version: DatasetVersionRow) -> None:
    if sessions.kw["bind"].dialect.name == "sqlite":
        pytest.skip("SQLite has one writer")
    with transaction(sessions) as session:
        first, second = (JobRepo(session).add(job(version)).id for _ in range(2))
    with transaction(sessions) as session, transaction(sessions) as other:
        other.execute(text("SET LOCAL lock_timeout = '30s'"))  # an error instead of a deadlock
        claims = [AttemptRepo(each).claim_next("w", 60.0) for each in (session, other)]
        assert [row and row.id for row in claims] == [first, second]


def test_resolvable_jobs_are_those_of_ready_datasets(sessions: SessionFactory) -> None:
    states = [DatasetState.READY, DatasetState.IMPORTING, DatasetState.READY, DatasetState.READY]
    with transaction(sessions) as session:
        versions = [dataset_version(state=state) for state in states]
        session.add_all(versions)
        session.flush()
        waiting = [
            [JobRepo(session).add(job(version, is_resolved=False)).id for _ in range(3)] for version in versions[:3]
        ]
        JobRepo(session).add(job(versions[3]))
        JobRepo(session).kill(waiting[2].pop())
    with transaction(sessions) as session:
        repo = JobQueueRepo(session)
        found = repo.find_resolvable_ids()
        assert sorted(found) == sorted(waiting[0] + waiting[2])
        assert [job_id for job_id in found if job_id in waiting[0]] == waiting[0]  # in the order of their creation
        assert repo.find_resolvable_ids(limit=4) == found[:4]


def test_a_job_without_a_dataset_or_of_an_earlier_version_may_have_lost_its_message(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        spec = {"kind": "register"}
        new, old = (JobRepo(session).add(JobRow(kind="register", name="x", model_name="x", spec=spec)).id for _ in "ab")
        session.execute(update(JobRow).where(JobRow.id == old).values(queued_at=None))
    with transaction(sessions) as session:
        assert JobQueueRepo(session).find_ids_without_message(60.0) == [old]
        assert JobQueueRepo(session).find_ids_without_message(-60.0) == [new, old]


def test_the_age_of_a_message_starts_when_the_job_is_queued_again(
    sessions: SessionFactory, version: DatasetVersionRow
) -> None:
    with transaction(sessions) as session:
        job_id = JobRepo(session).add(job(version)).id
        session.execute(update(JobRow).values(queued_at=utc_now() - timedelta(hours=1)))
        claimed = AttemptRepo(session).claim_next("w", 60.0)
        assert claimed is not None
        AttemptRepo(session).release(job_id, claimed.token, "preempted")
    with transaction(sessions) as session:
        assert JobQueueRepo(session).find_ids_without_message(60.0) == []


def test_columns_of_the_spec_follow_it(sessions: SessionFactory, version: DatasetVersionRow) -> None:
    source = uuid.uuid4().hex
    spec = job_spec(device="cuda", resume_from={"job": source, "checkpoint": 3})
    with transaction(sessions) as session:
        job_id = JobRepo(session).add(job(version, is_resolved=False, spec=job_spec())).id
    with transaction(sessions) as session:
        JobRepo(session).resolve(job_id, spec, [], {})
    with transaction(sessions) as session:
        row = JobRepo(session).get(job_id)
        assert (row.requires_gpu, row.resume_from_job_id) == (True, source)
        assert CheckpointRepo(session).find_dependents(source) == {job_id: 3}
        assert JobQueueRepo(session).filter_gpu_ids([job_id]) == {job_id}
