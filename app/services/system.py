"""Reads the state of the service: versions, devices, workers and queued jobs."""

import platform
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.serving.backend import ModelBackend
from core.db.repos.jobs import JobRepo
from core.db.repos.usage import UsageRepo
from core.db.repos.workers import WorkerRepo
from core.jobs import JobState
from core.version import get_version

PACKAGES = ("torch", "torchvision", "fastapi", "celery", "sqlalchemy")


class WorkerView(NamedTuple):
    """A live worker and the ids of the jobs that it runs."""

    id: str
    host: str
    slots: int
    devices: list[Any]
    versions: dict[str, Any]
    started_at: datetime
    beat_at: datetime
    took_at: datetime | None
    is_consuming: bool
    jobs: list[str]


class SystemView(NamedTuple):
    """The state of the service: versions, devices, workers and queued jobs."""

    versions: dict[str, str]
    devices: list[str]
    inference: list[dict[str, Any]]
    queue_depth: int
    jobs: dict[JobState, int]
    workers: list[WorkerView]


class SystemService:
    """Reads the state of the service.

    Args:
        backend: model backend; its inference processes are listed.
        worker_silence_s: a worker is considered live for this many seconds after its last heartbeat.
        canary_silence_s: a worker is considered to consume the queue for this many seconds after its last message.
    """

    def __init__(
        self, session: Session, backend: ModelBackend, *, worker_silence_s: float, canary_silence_s: float
    ) -> None:
        self._session = session
        self._backend = backend
        self._worker_silence_s = worker_silence_s
        self._canary_silence_s = canary_silence_s

    def get_system(self) -> SystemView:
        """Return the state of the service."""
        jobs, workers = self.count_jobs(), self.list_workers()
        devices = sorted({str(device["name"]) for worker in workers for device in worker.devices})
        return SystemView(
            read_package_versions(), devices, self._backend.list_devices(), jobs[JobState.QUEUED], jobs, workers
        )

    def list_workers(self) -> list[WorkerView]:
        """Return the live workers."""
        job_ids = JobRepo(self._session).get_active_ids_by_worker()
        max_silence = timedelta(seconds=self._canary_silence_s)
        return [
            WorkerView(
                id=row.id,
                host=row.host,
                slots=row.slots,
                devices=row.devices,
                versions=row.versions,
                started_at=row.started_at,
                beat_at=row.beat_at,
                took_at=row.took_at,
                is_consuming=row.beat_at - (row.took_at or row.started_at) < max_silence,
                jobs=job_ids.get(row.id, []),
            )
            for row in WorkerRepo(self._session).list_alive(self._worker_silence_s)
        ]

    def sum_worker_usage(self) -> dict[str, dict[str, float]]:
        """Return the resource usage of the running trainings of each live worker: {worker id: {name: sum}}."""
        usage = UsageRepo(self._session).sum_by_worker()
        return {row.id: usage.get(row.id, {}) for row in WorkerRepo(self._session).list_alive(self._worker_silence_s)}

    def count_jobs(self) -> dict[JobState, int]:
        """Return the number of jobs in each state."""
        return dict.fromkeys(JobState, 0) | JobRepo(self._session).count_by_state()


def read_package_versions() -> dict[str, str]:
    """Return the versions of Python and the main packages."""
    packages = {package: version(package) for package in PACKAGES}
    return {"python": platform.python_version(), "candela": get_version(), **packages}
