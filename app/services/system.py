"""How the service is: whether it can serve, what it runs on, who works for it, how much waits."""

import platform
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.jobs import JobRepo
from core.db.repos.workers import WorkerRepo
from core.db.tables import WorkerRow
from core.errors import ServiceError
from core.jobs import JobState

PACKAGES = ("candela", "torch", "torchvision", "fastapi", "celery", "sqlalchemy")


class System(NamedTuple):
    """What an operator wants to see at a glance."""

    versions: dict[str, str]
    devices: list[str]
    queue_depth: int
    jobs: dict[JobState, int]
    workers: list[WorkerRow]


class SystemService:
    """Args:
    worker_silence_s: a worker that was silent for longer does not count as living.
    """

    def __init__(self, session: Session, *, worker_silence_s: float) -> None:
        self._session = session
        self._worker_silence_s = worker_silence_s

    def show(self) -> System:
        jobs, workers = self.jobs(), WorkerRepo(self._session).alive(self._worker_silence_s)
        devices = sorted({str(device["name"]) for worker in workers for device in worker.devices})
        return System(versions(), devices, jobs[JobState.QUEUED], jobs, workers)

    def jobs(self) -> dict[JobState, int]:
        """How many jobs there are in every state."""
        return dict.fromkeys(JobState, 0) | JobRepo(self._session).count_by_state()


def versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}


def failures(checks: Mapping[str, Callable[[], None]]) -> dict[str, str]:
    """Why the service is not ready, by the part that is not; empty when it is."""
    reasons = {}
    for part, check in checks.items():
        try:
            check()
        except ServiceError as error:
            reasons[part] = error.detail
        except Exception as error:  # noqa: BLE001 - whatever a part raises, it is not ready
            reasons[part] = f"{type(error).__name__}: {error}"
    return reasons
