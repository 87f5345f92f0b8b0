"""Transactions of an attempt: retried while the database is unavailable, until the lease is lost."""

import pytest
from sqlalchemy.exc import IntegrityError, OperationalError
from sqlalchemy.orm import Session

from core.db.session import SessionFactory
from core.db.tables import JobRow
from core.errors import LostLease
from worker.control.fenced_transactions import FencedTransactions


class Flaky:
    """An action that fails a number of times before it returns the job's id."""

    def __init__(self, job_id: str, num_failures: int) -> None:
        self.job_id = job_id
        self.num_failures = num_failures

    def __call__(self, session: Session) -> str:
        if self.num_failures:
            self.num_failures -= 1
            raise OperationalError("UPDATE", {}, Exception("database is locked"), connection_invalidated=True)
        return session.get_one(JobRow, self.job_id).id


def test_an_action_is_retried_while_the_database_is_unavailable(
    sqlite_sessions: SessionFactory, claimed: JobRow
) -> None:
    pauses: list[float] = []
    transactions = FencedTransactions(sqlite_sessions, claimed.id, claimed.token, lambda: False, pauses.append)
    assert transactions.run(Flaky(claimed.id, 3)) == claimed.id
    assert len(pauses) == 3


def test_a_lost_lease_ends_the_retries(sqlite_sessions: SessionFactory, claimed: JobRow) -> None:
    transactions = FencedTransactions(sqlite_sessions, claimed.id, claimed.token, lambda: True)
    with pytest.raises(LostLease):
        transactions.run(Flaky(claimed.id, 1))


def test_other_database_errors_are_raised(sqlite_sessions: SessionFactory, claimed: JobRow) -> None:
    def fail(_: Session) -> None:
        raise IntegrityError("INSERT", {}, Exception("UNIQUE constraint failed"))

    with pytest.raises(IntegrityError):
        FencedTransactions(sqlite_sessions, claimed.id, claimed.token, lambda: False).run(fail)
