"""The readiness probe. It checks the database and its schema, the storage, the queue and the inference processes."""

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future, wait
from typing import Any

from sqlalchemy import Engine

from app.serving.backend import ModelBackend
from core.db.schema import check_schema
from core.db.session import SessionFactory
from core.errors import ConfigurationError, ServiceError, Unavailable
from core.queue import Queue, QueueUnavailable
from core.storage import Storage

CHECK_TIMEOUT_S = 1.5
"""Seconds to wait for all checks. This time is shorter than the connection timeouts of database and queue drivers."""

Check = Callable[[], None]
"""Checks one component, for example the database. Raises an exception if the component cannot be used."""


class ReadinessProbe:
    """Runs all checks concurrently. A check that has not finished yet is not started a second time."""

    def __init__(self, checks: Mapping[str, Check], timeout_s: float = CHECK_TIMEOUT_S) -> None:
        self._checks = checks
        self._timeout_s = timeout_s
        self._pending: dict[str, Future[None]] = {}
        self._lock = threading.Lock()

    def collect_reasons(self) -> dict[str, str]:
        """Return the reason for each component that is not ready. The mapping is empty if the service is ready."""
        with self._lock:
            for part, check in self._checks.items():
                if part not in self._pending or self._pending[part].done():
                    self._pending[part] = _start_check(check)
            pending = dict(self._pending)
        wait(pending.values(), self._timeout_s)
        reasons = {part: self._get_reason(future) for part, future in pending.items()}
        return {part: reason for part, reason in reasons.items() if reason}

    def _get_reason(self, check: Future[None]) -> str:
        if not check.done():
            return f"It does not respond within {self._timeout_s:g} s."
        match check.exception():
            case None:
                return ""
            case ServiceError(detail=detail):
                return detail
            case error:
                return f"{type(error).__name__}: {error}"


def _start_check(check: Check) -> Future[None]:
    future: Future[None] = Future()

    def run() -> None:
        try:
            check()
        except Exception as error:  # noqa: BLE001 - any exception means that the component is not ready
            future.set_exception(error)
        else:
            future.set_result(None)

    threading.Thread(target=run, name="readiness", daemon=True).start()  # a daemon thread does not delay the exit
    return future


def build_checks(
    sessions: SessionFactory, storage: Storage, queue: Queue, backend: ModelBackend
) -> Mapping[str, Check]:
    """Return one check for each component."""
    engine: Any = sessions.kw["bind"]
    return {
        "database": lambda: _check_database(engine),
        "storage": storage.check_writable,
        "queue": lambda: _check_queue(queue),
        "networks": backend.check_ready,
    }


def _check_database(engine: Engine) -> None:
    try:
        check_schema(engine)
    except ConfigurationError as error:
        raise Unavailable(str(error)) from error


def _check_queue(queue: Queue) -> None:
    try:
        queue.depth("train")
    except QueueUnavailable as error:
        raise Unavailable(f"The queue does not respond: {error}") from error
