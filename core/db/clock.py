"""Whose clock everything stored is dated by: the database's on PostgreSQL, the host's on SQLite."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, func, literal
from sqlalchemy.orm import Session

from core.db.base import UtcDateTime


def utc_now() -> datetime:
    """The host's time; on PostgreSQL never stored and never compared with what is: hosts differ."""
    return datetime.now(UTC)


def now(session: Session, offset_s: float = 0.0) -> ColumnElement[Any]:
    """The present as an SQL expression, `later_s` seconds from now; it moves on inside a transaction."""
    delta = timedelta(seconds=offset_s)
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=UtcDateTime()) + literal(delta, Interval())
    return literal(utc_now() + delta, UtcDateTime())
