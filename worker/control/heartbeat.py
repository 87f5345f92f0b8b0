"""Maintains the worker's row in the database: last heartbeat, host, devices and package versions."""

import socket
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.workers import WorkerRepo
from core.db.session import SessionFactory, transaction
from core.version import get_version
from worker.control.device_probe import probe_devices

log = structlog.get_logger()
DevicesCallback = Callable[[list[dict[str, Any]]], None]
_PACKAGES = ("torch", "torchvision", "celery")


class WorkerHeartbeat(threading.Thread):
    """A thread that inserts the worker's row, updates it at intervals, and deletes it when the thread is closed.

    Args:
        interval_s: seconds between two updates.
        on_devices: called once with the detected devices of this machine.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        worker_id: str,
        slots: int,
        interval_s: float,
        on_devices: DevicesCallback = lambda devices: None,
    ) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self._sessions = sessions
        self._worker_id = worker_id
        self._slots = slots
        self._interval_s = interval_s
        self._devices: list[dict[str, Any]] = [{"name": "cpu"}]
        self._on_devices = on_devices
        self._close_event = threading.Event()
        self._last_message_at: float | None = None

    def run(self) -> None:
        """Insert the row, detect the devices, and update the row at intervals until the thread is closed."""
        self._run_safely(self._insert_row)
        self._devices = probe_devices()
        self._on_devices(self._devices)
        self._run_safely(self._insert_row)
        while not self._close_event.wait(self._interval_s):
            self._run_safely(self._update_row)
        self._run_safely(self._delete_row)

    def record_message(self) -> None:
        """Record that the worker received a message, as evidence that its connection to the queue works."""
        self._last_message_at = time.monotonic()

    def close(self) -> None:
        """Delete the worker's row and wait for the thread to end."""
        self._close_event.set()
        self.join()

    def _run_safely(self, action: Callable[[], None]) -> None:
        try:
            action()
        except SQLAlchemyError as error:
            log.warning("heartbeat.failed", error=str(error))

    def _insert_row(self) -> None:
        with transaction(self._sessions) as session:
            host = socket.gethostname()
            WorkerRepo(session).register(self._worker_id, host, self._slots, self._devices, list_package_versions())

    def _update_row(self) -> None:
        with transaction(self._sessions) as session:
            message_age_s = None if self._last_message_at is None else time.monotonic() - self._last_message_at
            is_registered = WorkerRepo(session).record_heartbeat(self._worker_id, message_age_s)
        if not is_registered:
            self._insert_row()

    def _delete_row(self) -> None:
        with transaction(self._sessions) as session:
            WorkerRepo(session).unregister(self._worker_id)


def list_package_versions() -> dict[str, str]:
    """Return the versions of Python and of the installed packages that affect results."""
    versions = {"python": sys.version.split()[0], "candela": get_version()}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions
