"""Fails a test when code waits for a storage, a queue or another process while it holds a write transaction.

On SQLite, a write transaction blocks all other writers. On PostgreSQL, it holds row locks and one of few connections.
"""

import functools
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event
from sqlalchemy.orm import Session, SessionTransaction

from app.serving.client import InferenceClient
from app.serving.process_pool import InferenceProcessPool
from core.bus import RedisBus
from core.queue import CeleryQueue
from core.storage import LocalStorage, S3Storage
from tests.support.fakes import MemoryQueue
from tests.support.local_backend import LocalBackend

STORAGE_METHODS = ("publish", "publish_file", "fetch", "fetch_file", "delete", "list_keys", "check_writable")
SLOW_CALLS: tuple[tuple[type[Any], tuple[str, ...]], ...] = (
    (LocalStorage, STORAGE_METHODS),
    (S3Storage, STORAGE_METHODS),
    (subprocess.Popen, ("__init__",)),
    (InferenceClient, ("request", "predict")),
    (InferenceProcessPool, ("load_model", "check_architecture")),
    (LocalBackend, ("load_model", "check_architecture")),
    (CeleryQueue, ("put", "depth")),
    (MemoryQueue, ("put", "depth")),
    (RedisBus, ("publish",)),
)


class WriteLockHeld(AssertionError):
    """A slow call was made while this thread had an open write transaction."""


class _Watcher:
    """Records the sessions with an open write transaction, and the thread that started each transaction.

    A different thread may end it: FastAPI enters and leaves a dependency in any thread of its pool.
    """

    def __init__(self) -> None:
        self._threads: dict[int, int] = {}  # id of the session -> id of the thread

    def add_writer(self, session: Session, _transaction: SessionTransaction, connection: Connection) -> None:
        if not connection.get_execution_options().get("candela_read_only"):
            self._threads[id(session)] = threading.get_ident()

    def remove_writer(self, session: Session, transaction: SessionTransaction) -> None:
        if transaction.parent is None:
            self._threads.pop(id(session), None)

    def check(self, call: str) -> None:
        if threading.get_ident() in list(self._threads.values()):
            raise WriteLockHeld(f"{call} is called while a write transaction is open")


@contextmanager
def watch_write_locks() -> Iterator[_Watcher]:
    """Watch all sessions and the slow calls of all classes in `SLOW_CALLS`."""
    watcher = _Watcher()
    patch = pytest.MonkeyPatch()
    event.listen(Session, "after_begin", watcher.add_writer)
    event.listen(Session, "after_transaction_end", watcher.remove_writer)
    for kind, names in SLOW_CALLS:
        for name in names:
            patch.setattr(kind, name, _guard(getattr(kind, name), watcher, f"{kind.__name__}.{name}"))
    try:
        yield watcher
    finally:
        patch.undo()
        event.remove(Session, "after_begin", watcher.add_writer)
        event.remove(Session, "after_transaction_end", watcher.remove_writer)


def _guard(function: Callable[..., Any], watcher: _Watcher, call: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def guarded(*arguments: Any, **options: Any) -> Any:
        watcher.check(call)
        return function(*arguments, **options)

    return guarded
