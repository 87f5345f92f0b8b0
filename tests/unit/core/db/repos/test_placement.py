"""A job is only claimed by a worker with the device that it requests."""

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.placement import WorkerCapacity
from core.db.session import SessionFactory, transaction
from core.outbox import OutboxRelay
from tests.support.builders import dataset_version, job, job_spec
from tests.support.fakes import MemoryQueue

CPU = WorkerCapacity.from_devices(["cpu"], 2)
ONE_GPU = WorkerCapacity.from_devices(["cpu", "cuda:0"], 2)


def queue_jobs(sessions: SessionFactory, *devices: str | None) -> list[str]:
    """Queue jobs that request these devices, the oldest first; None: the spec has no device."""
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        specs = [job_spec() if device is None else job_spec(device=device) for device in devices]
        return [JobRepo(session).add(job(version, spec=spec)).id for spec in specs]


@pytest.mark.parametrize(
    ("device", "on_cpu", "on_gpu"),
    [
        ("auto", True, True),
        (None, True, True),
        ("cpu", True, True),
        ("cuda", False, True),
        ("cuda:0", False, True),
        ("cuda:1", False, False),
        ("mps", False, False),
    ],
)
def test_a_job_is_claimed_by_a_worker_with_its_device(
    sessions: SessionFactory, device: str | None, on_cpu: bool, on_gpu: bool
) -> None:
    for capacity, expected in ((CPU, on_cpu), (ONE_GPU, on_gpu)):
        (job_id,) = queue_jobs(sessions, device)
        with transaction(sessions) as session:
            assert (AttemptRepo(session).claim(job_id, "w", 60.0, 5, capacity) is not None) is expected


@pytest.mark.parametrize(
    ("device", "count", "capacity", "shortage"),
    [
        ("auto", 2, CPU, None),
        ("auto", 3, CPU, "3 slots"),
        ("cpu", 2, ONE_GPU, None),
        ("cuda", 2, ONE_GPU, "2 CUDA devices"),
        ("cuda", 2, WorkerCapacity.from_devices(["cpu", "cuda:0", "cuda:1"], 1), "2 slots"),
        ("cuda", 2, WorkerCapacity.from_devices(["cpu", "cuda:0", "cuda:1"], 2), None),
        ("mps", 1, CPU, "the device 'mps'"),
    ],
)
def test_a_job_on_several_devices_requires_as_many_devices_and_slots(
    sessions: SessionFactory, device: str, count: int, capacity: WorkerCapacity, shortage: str | None
) -> None:
    spec = job_spec(device=device, resources={"devices": count})
    assert capacity.find_shortage(spec) == shortage
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        job_id = JobRepo(session).add(job(version, spec=spec)).id
        assert JobQueueRepo(session).get_num_slots(job_id) == count
        assert JobQueueRepo(session).find_next_id(capacity) == (job_id if shortage is None else None)
        assert (AttemptRepo(session).claim(job_id, "w", 60.0, 5, capacity) is None) is (shortage is not None)


def test_a_worker_without_gpu_skips_jobs_that_require_one(sessions: SessionFactory) -> None:
    gpu, _, cpu = queue_jobs(sessions, "cuda", "cuda:1", "auto")
    with transaction(sessions) as session:
        jobs = JobQueueRepo(session)
        assert jobs.find_next_id(CPU) == cpu
        assert jobs.find_next_id(ONE_GPU) == gpu


def test_messages_of_gpu_jobs_use_their_own_queue(sessions: SessionFactory) -> None:
    ids = queue_jobs(sessions, "auto", "cuda", "cpu", "cuda:1")
    with transaction(sessions) as session:
        outbox = OutboxRepo(session)
        for job_id in ids:
            outbox.add("train", job_id)
        outbox.add("import", "dataset")
    queue = MemoryQueue()
    OutboxRelay(sessions, queue).relay()
    topics = ["train", "train-gpu", "train", "train-gpu", "import"]
    assert queue.sent == list(zip(topics, [*ids, "dataset"], strict=True))


def test_lost_messages_of_gpu_jobs_are_found_separately(sessions: SessionFactory) -> None:
    cpu, gpu = queue_jobs(sessions, "auto", "cuda")
    with transaction(sessions) as session:
        queue = JobQueueRepo(session)
        assert queue.find_ids_without_message(-60.0, gpu=False) == [cpu]
        assert queue.find_ids_without_message(-60.0, gpu=True) == [gpu]
        assert queue.find_ids_without_message(-60.0) == [cpu, gpu]
