"""The HTTP service in this process: a real database on SQLite, real local files, a queue that remembers."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.deps import State
from app.serving.model_server import ModelServer
from core.db.session import make_engine, make_sessions
from core.outbox import OutboxRelay
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.bus import MemoryBus
from tests.support.fakes import MemoryQueue
from tests.support.networks import LocalNetworks

SMALL: dict[str, Any] = {"dataset": {"name": "digits"}, "architecture": {"name": "mlp"}}


@contextmanager
def service_state(home: Path, sqlite_template: Path, **settings: Any) -> Iterator[State]:
    """What the process would own; the dispatcher's thread is not started."""
    bus, queue = MemoryBus(), MemoryQueue()
    engine = make_engine(f"sqlite:///{shutil.copy(sqlite_template, home / 'service.db')}")
    sessions = make_sessions(engine, bus.publish)
    storage = LocalStorage.at(str(home / "service-store"))
    yield State(
        settings=Settings(home=home, datasets=home / "no-datasets", **settings),
        sessions=sessions,
        queue=queue,
        dispatcher=OutboxRelay(sessions, queue),
        bus=bus,
        storage=storage,
        predictors=ModelServer(storage, LocalNetworks(), max_batch_size=8, max_waiting=64, max_loaded=2),
    )
    storage.close()
    engine.dispose()
