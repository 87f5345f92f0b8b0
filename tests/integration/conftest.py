"""Fixtures with real processes, both databases and a real queue."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db.session import SessionFactory, make_engine, make_session_factory
from tests.support.servers import valkey_server
from tests.support.service import WorkerProcesses, stop_at_end
from tests.support.stack import Stack


@pytest.fixture
def service(tmp_path: Path, database_url: str, redis_url: str, sessions: SessionFactory) -> Iterator[WorkerProcesses]:
    with stop_at_end(WorkerProcesses(tmp_path / "home", database_url, redis_url, sessions)) as service:
        yield service


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path) -> Iterator[Stack]:
    """The API, a worker and maintenance with an own home, which the tests of a module share."""
    home = tmp_path_factory.mktemp("stack") / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    with valkey_server() as queue:
        stack = Stack(home, url, queue.url, make_session_factory(engine))
        try:
            stack.start_missing()
            yield stack
        finally:
            stack.close()
            engine.dispose()
