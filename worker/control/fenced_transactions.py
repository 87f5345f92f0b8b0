"""Runs the transactions of one attempt.

While the database is unavailable, a transaction is retried until the attempt loses its lease.
"""

import time
from collections.abc import Callable
from typing import TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.session import SessionFactory, is_database_unavailable, transaction
from core.errors import LostLease

log = structlog.get_logger()
T = TypeVar("T")
_RETRY_S = 0.2


class FencedTransactions:
    """Runs the database writes of one attempt.

    Attributes:
        job_id: the id of the attempt's job.
        token: the fencing token of the attempt. Repositories raise LostLease if the job has a newer token.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        job_id: str,
        token: int,
        is_lease_lost: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.job_id = job_id
        self.token = token
        self._sessions = sessions
        self._is_lease_lost = is_lease_lost
        self._sleep = sleep

    def run(self, action: Callable[[Session], T]) -> T:
        """Run `action` in one transaction and return its result.

        Raises:
            LostLease: the lease expired while the database was unavailable, or another attempt claimed the job.
        """
        return self._run(action, read_only=False)

    def read(self, action: Callable[[Session], T]) -> T:
        """Run `action` in one transaction that only reads, and holds no lock, and return its result.

        Raises:
            LostLease: the lease expired while the database was unavailable.
        """
        return self._run(action, read_only=True)

    def _run(self, action: Callable[[Session], T], *, read_only: bool) -> T:
        while True:
            try:
                with transaction(self._sessions, read_only=read_only) as session:
                    return action(session)
            except SQLAlchemyError as error:
                if not is_database_unavailable(error):
                    raise
                log.warning("database.unavailable", job_id=self.job_id, error=str(error))
            if self._is_lease_lost():
                raise LostLease("The lease expired while the database was unavailable.")
            self._sleep(_RETRY_S)
