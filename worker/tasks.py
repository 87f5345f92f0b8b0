"""Handles messages from the queue. A `train` message makes the worker run queued jobs, first the named job."""

from collections.abc import Callable

import structlog

from core.db.repos.datasets import DatasetRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.session import SessionFactory, transaction
from core.queue import CANARY
from worker.control.slots import Slots
from worker.control.supervisor import Supervisor
from worker.importing.importer import Importer

log = structlog.get_logger()
MAX_IMPORTS = 1
"""Imports that run at the same time in a worker. More could occupy every thread, so that no job would start."""


class Tasks:
    """Handles messages on Celery's threads.

    Args:
        on_message: called once for every message, before it is handled.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        supervisor: Supervisor,
        importer: Importer,
        slots: Slots,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions, self._supervisor, self._importer, self._slots = sessions, supervisor, importer, slots
        self._import_slots = Slots(MAX_IMPORTS)
        self._on_message = on_message

    def train(self, job_id: str) -> None:
        """Run the job if a slot is free and the job can be claimed. Then run other queued jobs while slots are free."""
        self._on_message()
        if job_id == CANARY:
            return
        self._slots.process_queue(
            job_id, self._find_next_job, self._supervisor.run, self._count_slots, self._supervisor.run_next
        )

    def import_dataset(self, version_id: str) -> None:
        """Import the dataset version if no other import runs. Then import other versions that wait."""
        self._on_message()
        if not self._supervisor.is_shutting_down:
            self._import_slots.process_queue(version_id, self._find_next_import, self._importer.run)

    def _find_next_import(self) -> str | None:
        if self._supervisor.is_shutting_down:
            return None
        with transaction(self._sessions, read_only=True) as session:
            return next(iter(DatasetRepo(session).find_unclaimed_ids(older_than_s=0, limit=1)), None)

    def _find_next_job(self) -> str | None:
        if self._supervisor.is_shutting_down:
            return None
        with transaction(self._sessions, read_only=True) as session:
            return JobQueueRepo(session).find_next_id(self._supervisor.devices.capacity)

    def _count_slots(self, job_id: str) -> int:
        with transaction(self._sessions, read_only=True) as session:
            return JobQueueRepo(session).get_num_slots(job_id)
