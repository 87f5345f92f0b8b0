"""What Celery may call: a message means "look", nothing more."""

from collections.abc import Callable

import structlog

from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.queue import CANARY
from worker.control.slots import Slots
from worker.control.supervisor import Supervisor
from worker.importing.importer import Importer

log = structlog.get_logger()


class Tasks:
    """The worker's work, on Celery's threads."""

    def __init__(
        self,
        sessions: SessionFactory,
        supervisor: Supervisor,
        importer: Importer,
        slots: Slots,
        took: Callable[[], None] = lambda: None,
    ) -> None:
        """`took` is called for every message."""
        self._sessions, self._supervisor, self._importer, self._slots = sessions, supervisor, importer, slots
        self._took = took

    def train(self, job_id: str) -> None:
        """Run that job if it can be had, then whatever is queued, while a slot is free."""
        self._took()
        if job_id == CANARY:
            return
        self._slots.work(job_id, self._next, self._supervisor.run, self._num_slots)

    def import_dataset(self, version_id: str) -> None:
        """Import that version of a dataset, unless somebody is at it."""
        self._took()
        if not self._supervisor.is_leaving:
            self._importer.run(version_id)

    def _next(self) -> str | None:
        if self._supervisor.is_leaving:
            return None
        with transaction(self._sessions, read_only=True) as session:
            return JobRepo(session).next_queued(self._supervisor.devices.capacity)

    def _num_slots(self, job_id: str) -> int:
        with transaction(self._sessions, read_only=True) as session:
            return JobRepo(session).num_slots(job_id)
