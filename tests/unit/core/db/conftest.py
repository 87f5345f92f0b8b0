"""A queued job and a running job on a ready dataset."""

import pytest

from core.db.repos.attempts import AttemptRepo
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


@pytest.fixture
def running(sessions: SessionFactory, queued: JobRow) -> JobRow:
    with transaction(sessions) as session:
        job = AttemptRepo(session).claim(queued.id, "w", 60.0)
        assert job is not None
        return job
