"""Fixtures with real processes, both databases and a real queue."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db.session import SessionFactory
from tests.support.service import WorkerProcesses, stop_at_end


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_url: str, sessions: SessionFactory) -> Iterator[WorkerProcesses]:
    with stop_at_end(WorkerProcesses(tmp_path / "home", database_url, redis_url, sessions)) as service:
        yield service
