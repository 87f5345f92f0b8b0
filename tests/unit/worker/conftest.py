"""A supervisor whose trainers are scripted, on a ready dataset with one file."""

import hashlib
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.spec import JobSpec
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job, job_spec
from worker.control.lease import SupervisionTimeouts
from worker.control.standby import Standby
from worker.control.supervisor import Supervisor

FAKE = Path(__file__).parents[2] / "support" / "fake_trainer.py"
LEASE_S = 1e6  # a test that lets hours pass at once loses no lease
Supervise = Callable[[str], Supervisor]
Clock = Callable[[], float]


@pytest.fixture
def version(sqlite_sessions: SessionFactory, storage: LocalStorage) -> DatasetVersionRow:
    packed = storage.scratch()
    (packed / "meta.json").write_text("{}")
    storage.publish(packed, "datasets/1/t1")
    files = {"meta.json": {"sha256": hashlib.sha256(b"{}").hexdigest(), "size_bytes": 2}}
    row = dataset_version(packed_key="datasets/1/t1", meta={"files": files}, content_hash="c0ffee")
    with transaction(sqlite_sessions) as session:
        session.add(row)
    return row


@pytest.fixture
def queued(sqlite_sessions: SessionFactory, version: DatasetVersionRow) -> JobRow:
    spec = JobSpec.model_validate(job_spec()).model_dump(mode="json")
    with transaction(sqlite_sessions) as session:
        return JobRepo(session).add(job(version, spec=spec))


@pytest.fixture
def supervise(sqlite_sessions: SessionFactory, storage: LocalStorage) -> Iterator[Supervise]:
    """A supervisor whose trainers go by a plan of `fake_trainer.py`."""
    standbys: list[Standby] = []

    def make(plan: str, *, grace_s: float = 60.0, stall_s: float = 600.0, clock: Clock = time.monotonic) -> Supervisor:
        standby = Standby([sys.executable, str(FAKE), plan])
        standby.start()
        standbys.append(standby)
        cadence = SupervisionTimeouts(lease_s=LEASE_S, heartbeat_s=0.05, grace_s=grace_s, stall_s=stall_s, flush_s=0.01)
        return Supervisor(sqlite_sessions, storage, standby, "worker-1", cadence, max_attempts=3, clock=clock)

    yield make
    for standby in standbys:
        standby.close()
