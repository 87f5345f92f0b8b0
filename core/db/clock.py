"""Returns the current time for stored times: from the database's clock on PostgreSQL, the host's clock on SQLite."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, func, literal
from sqlalchemy.orm import Session

from core.db.base import UtcDateTime


def utc_now() -> datetime:
    """Return the current UTC time of this host.

    Do not compare it with times stored on PostgreSQL: the clocks of the hosts can differ.
    """
    return datetime.now(UTC)


def now(session: Session, offset_s: float = 0.0) -> ColumnElement[Any]:
    """Return an SQL expression for the current time plus `offset_s` seconds.

    Unlike `now()` of PostgreSQL, the time is not fixed at the start of the transaction.
    """
    delta = timedelta(seconds=offset_s)
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=UtcDateTime()) + literal(delta, Interval())
    return literal(utc_now() + delta, UtcDateTime())
