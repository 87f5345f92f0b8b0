"""How the service is: whether it can serve, what it runs on, who works for it, how much waits."""

import platform
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.serving.backend import ModelBackend
from core.db.repos.jobs import JobRepo
from core.db.repos.workers import WorkerRepo
from core.jobs import JobState

PACKAGES = ("candela", "torch", "torchvision", "fastapi", "celery", "sqlalchemy")


class WorkerView(NamedTuple):
    """A worker that was heard of just now, and what it does."""

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
    """What an operator wants to see at a glance."""

    versions: dict[str, str]
    devices: list[str]
    inference: list[dict[str, Any]]
    queue_depth: int
    jobs: dict[JobState, int]
    workers: list[WorkerView]


class SystemService:
    """Args:
    networks: whose processes are told of.
    worker_silence_s: a worker that was silent for longer does not count as living.
    canary_silence_s: one that took no message for longer does not listen to the queue.
    """

    def __init__(
        self, session: Session, backend: ModelBackend, *, worker_silence_s: float, canary_silence_s: float
    ) -> None:
        self._session = session
        self._backend = backend
        self._worker_silence_s, self._canary_silence_s = worker_silence_s, canary_silence_s

    def get_system(self) -> SystemView:
        jobs, workers = self.count_jobs(), self.list_workers()
        devices = sorted({str(device["name"]) for worker in workers for device in worker.devices})
        return SystemView(read_package_versions(), devices, self._backend.facts(), jobs[JobState.QUEUED], jobs, workers)

    def list_workers(self) -> list[WorkerView]:
        """Workers that were heard of just now."""
        held = JobRepo(self._session).held()
        patience = timedelta(seconds=self._canary_silence_s)
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
                is_consuming=row.beat_at - (row.took_at or row.started_at) < patience,
                jobs=held.get(row.id, []),
            )
            for row in WorkerRepo(self._session).alive(self._worker_silence_s)
        ]

    def count_jobs(self) -> dict[JobState, int]:
        """How many jobs there are in every state."""
        return dict.fromkeys(JobState, 0) | JobRepo(self._session).count_by_state()


def read_package_versions() -> dict[str, str]:
    return {"python": platform.python_version(), **{package: version(package) for package in PACKAGES}}
