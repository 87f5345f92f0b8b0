"""An HTTP service in this process: SQLite, local files, and a queue and a bus in memory."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.main import create_app
from app.serving.model_server import ModelServer
from app.state import State, build_decoder
from core.db.session import make_engine, make_session_factory
from core.outbox import OutboxRelay
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.bus import MemoryBus
from tests.support.fakes import MemoryQueue
from tests.support.local_backend import LocalBackend

SMALL: dict[str, Any] = {"kind": "train", "dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


@contextmanager
def service_state(home: Path, sqlite_template: Path, **options: Any) -> Iterator[State]:
    """Open a state with the given settings. The thread of the outbox relay is not started."""
    settings = Settings(home=home, datasets=home / "no-datasets", **{"allowed_hosts": ("testserver",)} | options)
    bus, queue = MemoryBus(), MemoryQueue()
    engine = make_engine(f"sqlite:///{shutil.copy(sqlite_template, home / 'service.db')}")
    sessions = make_session_factory(engine, bus.publish)
    storage = LocalStorage.open_folder(str(home / "service-store"))
    decoder = build_decoder(settings)
    yield State(
        settings=settings,
        sessions=sessions,
        queue=queue,
        relay=OutboxRelay(sessions, queue),
        bus=bus,
        storage=storage,
        model_server=ModelServer(storage, LocalBackend(), max_batch_size=8, max_waiting=64, max_loaded=2),
        decoder=decoder,
    )
    decoder.close()
    storage.close()
    engine.dispose()


@contextmanager
def service_client(state: State) -> Iterator[TestClient]:
    """Start the service with this state and open a client; stop its models at the end."""
    with TestClient(create_app(state=state)) as client:
        yield client
        assert client.portal is not None
        client.portal.call(state.model_server.close)


@pytest.fixture
def settings_options() -> dict[str, Any]:
    """The settings of `state` that differ from the defaults. Override it in a test module."""
    return {}


@pytest.fixture
def state(tmp_path: Path, sqlite_template: Path, settings_options: dict[str, Any]) -> Iterator[State]:
    """The state of an empty service."""
    with service_state(tmp_path, sqlite_template, **settings_options) as state:
        yield state


@pytest.fixture
def client(state: State) -> Iterator[TestClient]:
    """A client of the service with `state`."""
    with service_client(state) as client:
        yield client
