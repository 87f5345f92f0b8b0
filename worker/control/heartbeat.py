"""The worker's own row: that it lives, where, with what."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.workers import WorkerRepo
from core.db.session import SessionFactory, transaction

log = structlog.get_logger()
Found = Callable[[list[dict[str, Any]]], None]
_PACKAGES = ("candela", "torch", "torchvision", "celery")
# In a process of its own: asking CUDA here would take memory of the device, and torch half a gigabyte.
_PROBE = """
import json, torch
devices = [{"name": "cpu", "threads": torch.get_num_threads()}]
for i in range(torch.cuda.device_count()):
    p = torch.cuda.get_device_properties(i)
    devices.append({"name": f"cuda:{i}", "model": p.name, "memory_bytes": p.total_memory})
if torch.backends.mps.is_available():
    devices.append({"name": "mps"})
print(json.dumps(devices))
"""
_PROBE_TIMEOUT_S = 120
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, NVIDIA under WSL, AMD


class WorkerHeartbeat(threading.Thread):
    """Registers the worker and beats until it is closed; then the row goes."""

    def __init__(
        self, sessions: SessionFactory, worker_id: str, slots: int, beat_s: float, found: Found = lambda devices: None
    ) -> None:
        """`found` is told what the machine has, as soon as that is known."""
        super().__init__(name="pulse", daemon=True)
        self._sessions, self._worker_id, self._slots, self._beat_s = sessions, worker_id, slots, beat_s
        self._devices: list[Any] = [{"name": "cpu"}]
        self._found = found
        self._closed = threading.Event()
        self._took_at: float | None = None

    def run(self) -> None:
        self._try(self._register)
        self._devices = probe_devices()
        self._found(self._devices)
        self._try(self._register)
        while not self._closed.wait(self._beat_s):
            self._try(self._beat)
        self._try(self._leave)

    def record_message(self) -> None:
        """The worker took a message: it does not only live."""
        self._took_at = time.monotonic()

    def close(self) -> None:
        self._closed.set()
        self.join()

    def _try(self, step: Any) -> None:  # noqa: ANN401 - one of the methods below
        try:
            step()
        except SQLAlchemyError as error:
            log.warning("pulse.missed", error=str(error))

    def _register(self) -> None:
        with transaction(self._sessions) as session:
            host = socket.gethostname()
            WorkerRepo(session).register(self._worker_id, host, self._slots, self._devices, installed())

    def _beat(self) -> None:
        with transaction(self._sessions) as session:
            took_s_ago = None if self._took_at is None else time.monotonic() - self._took_at
            is_known = WorkerRepo(session).beat(self._worker_id, took_s_ago)
        if not is_known:
            self._register()

    def _leave(self) -> None:
        with transaction(self._sessions) as session:
            WorkerRepo(session).leave(self._worker_id)


def installed() -> dict[str, str]:
    """Versions of what decides about results."""
    found = {"python": sys.version.split()[0]}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def has_accelerator() -> bool:
    """Whether the machine may have a device beside its CPUs; only then is it worth it to import torch and ask."""
    return sys.platform != "linux" or any(Path(path).exists() for path in _DRIVERS)


def probe_devices() -> list[dict[str, Any]]:
    """What trainers on this machine can compute on."""
    if not has_accelerator():
        return [{"name": "cpu", "threads": len(os.sched_getaffinity(0))}]
    try:
        answer = subprocess.run(  # noqa: S603 - our own interpreter and words
            [sys.executable, "-c", _PROBE], capture_output=True, check=True, timeout=_PROBE_TIMEOUT_S
        )
        devices: list[dict[str, Any]] = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        log.warning("pulse.no_devices", error=str(error))
        return [{"name": "cpu"}]
    return devices
