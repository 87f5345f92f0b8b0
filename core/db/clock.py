"""The clock of stored times: the database's clock on PostgreSQL, the host's clock on SQLite."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Interval, func, literal
from sqlalchemy.orm import Session

from core.db.base import UtcDateTime


def utc_now() -> datetime:
    """Return the time of the host. On PostgreSQL do not compare it with stored times: host clocks differ."""
    return datetime.now(UTC)


def now(session: Session, offset_s: float = 0.0) -> ColumnElement[Any]:
    """Return the current time plus `offset_s` seconds as an SQL expression. It advances during a transaction."""
    delta = timedelta(seconds=offset_s)
    if session.get_bind().dialect.name == "postgresql":
        return func.clock_timestamp(type_=UtcDateTime()) + literal(delta, Interval())
    return literal(utc_now() + delta, UtcDateTime())
