"""Returns the current time for stored timestamps: from the server on PostgreSQL, from this host on SQLite."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, func, literal
from sqlalchemy.orm import Session

from core.db.base import UtcDateTime


def utc_now() -> datetime:
    """Return the current UTC time of this host.

    Do not compare this time with times stored on PostgreSQL: the clocks of this host and of the server can differ.
    """
    return datetime.now(UTC)


def now(session: Session, offset_s: float = 0.0) -> ColumnElement[Any]:
    """Return an SQL expression for the current time plus `offset_s` seconds.

    PostgreSQL's `now()` is not used, because it returns the time at which the transaction started.
    """
    delta = timedelta(seconds=offset_s)
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=UtcDateTime()) + literal(delta, Interval())
    return literal(utc_now() + delta, UtcDateTime())
