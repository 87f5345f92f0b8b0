"""Handles messages from the queue. A `train` message makes the worker run queued jobs, first the named job."""

from collections.abc import Callable

import structlog

from core.db.repos.datasets import DatasetRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.session import SessionFactory, transaction
from core.queue import CANARY
from worker.control.supervisor import Supervisor
from worker.importing.importer import Importer
from worker.importing.pool import ImportPool
from worker.slots import Slots

log = structlog.get_logger()


class Tasks:
    """Handles messages on Celery's threads. Jobs run in these threads, imports in those of a pool.

    Args:
        import_places: the number of imports that run at the same time.
        on_message: called once for every message, before it is handled.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        supervisor: Supervisor,
        importer: Importer,
        slots: Slots,
        import_places: int = 1,
        on_message: Callable[[], None] = lambda: None,
    ) -> None:
        self._sessions, self._supervisor, self._slots = sessions, supervisor, slots
        self._imports = ImportPool(import_places, self._find_next_import, importer.run)
        self._on_message = on_message

    def close(self) -> None:
        """Wait until the running imports have ended."""
        self._imports.close()

    def train(self, job_id: str) -> None:
        """Run the job if a slot is free and the job can be claimed. Then run other queued jobs while slots are free.

        If the next job of the queue needs several slots, the named job does not overtake it.
        """
        self._on_message()
        if job_id == CANARY:
            return
        self._slots.process_queue(
            job_id, self._find_next_job, self._supervisor.run, self._count_slots, self._supervisor.run_next
        )

    def import_dataset(self, version_id: str) -> None:
        """Import the dataset version in a thread of the pool, and return immediately."""
        self._on_message()
        if not self._supervisor.is_shutting_down:
            self._imports.submit(version_id)

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
