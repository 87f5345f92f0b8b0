"""A supervisor whose trainers are scripted, on a ready dataset with one file."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.db.repos.attempts import AttemptRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.spec import JobSpec
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job, job_spec
from tests.support.supervision import FAKE_TRAINER, GetJob, SupervisorFactory
from worker.control.attempt import WorkerContext
from worker.control.devices import DeviceAllocator
from worker.control.lease import SupervisionTimeouts
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor
from worker.control.tracing import AttemptTracer

LEASE_S = 1e6  # a test whose clock jumps by hours does not lose its lease


@pytest.fixture
def version(sqlite_sessions: SessionFactory, storage: LocalStorage) -> DatasetVersionRow:
    """A ready dataset version with one file."""
    packed = storage.create_scratch_folder()
    (packed / "meta.json").write_text("{}")
    storage.publish(packed, "datasets/1/t1")
    files = {"meta.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2}}
    row = dataset_version(packed_key="datasets/1/t1", meta={"files": files}, content_hash="c0ffee")
    with transaction(sqlite_sessions) as session:
        session.add(row)
    return row


@pytest.fixture
def queued(sqlite_sessions: SessionFactory, version: DatasetVersionRow) -> JobRow:
    """A queued job."""
    spec = JobSpec.model_validate(job_spec()).model_dump(mode="json")
    with transaction(sqlite_sessions) as session:
        return JobRepo(session).add(job(version, spec=spec))


@pytest.fixture
def claimed(sqlite_sessions: SessionFactory, queued: JobRow) -> JobRow:
    """The queued job, claimed by a worker."""
    with transaction(sqlite_sessions) as session:
        job = AttemptRepo(session).claim(queued.id, "worker-1", 60.0)
    assert job is not None
    return job


@pytest.fixture
def get_job(sqlite_sessions: SessionFactory, queued: JobRow) -> GetJob:
    """Reads the queued job's current row."""

    def read() -> JobRow:
        with transaction(sqlite_sessions, read_only=True) as session:
            return JobRepo(session).get(queued.id)

    return read


@pytest.fixture
def make_supervisor(
    sqlite_sessions: SessionFactory, storage: LocalStorage, tmp_path: Path
) -> Iterator[SupervisorFactory]:
    """Makes supervisors whose trainers follow a plan of `fake_trainer.py`."""
    standbys: list[Standby] = []

    def make(
        plan: str,
        *,
        grace_s: float = 60.0,
        stall_s: float = 600.0,
        clock: Callable[[], float] = time.monotonic,
        devices: DeviceAllocator | None = None,
        tracer: AttemptTracer | None = None,
    ) -> Supervisor:
        standby = Standby([sys.executable, str(FAKE_TRAINER), plan])
        standby.start()
        standbys.append(standby)
        timeouts = SupervisionTimeouts(
            lease_s=LEASE_S, heartbeat_s=0.05, grace_s=grace_s, stall_s=stall_s, flush_s=0.01
        )
        context = WorkerContext(
            sqlite_sessions, storage, standby, "worker-1", timeouts, 3, weights_dir=tmp_path, clock=clock
        )
        return Supervisor(context, devices, tracer)

    yield make
    for standby in standbys:
        standby.close()
