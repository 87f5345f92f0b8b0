"""A queued job on a ready dataset, on both databases."""

import pytest

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from tests.support.builders import dataset_version, job


@pytest.fixture
def queued(sessions: SessionFactory) -> JobRow:
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        return JobRepo(session).add(job(version))
