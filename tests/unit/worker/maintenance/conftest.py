"""A queued job on a ready dataset, and a record of the wake-ups of the relay."""

import pytest

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.builders import dataset_version, job


@pytest.fixture
def wake_ups() -> list[str]:
    return []


@pytest.fixture
def queued(sessions: SessionFactory) -> JobRow:
    with transaction(sessions) as session:
        version = dataset_version(packed_key="datasets/v/t1")
        session.add(version)
        session.flush()
        return JobRepo(session).add(job(version))
