"""Queries for the sessions of web browsers."""

from collections.abc import Collection

from sqlalchemy import ColumnElement, CursorResult, delete, func, or_, select, update
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.tables import BrowserSessionRow as _Row


class BrowserSessionRepo:
    """Stores sessions.

    Args:
        session: the database session of the caller.
        idle_s: seconds without a request after which a session ends.
    """

    def __init__(self, session: Session, idle_s: float) -> None:
        self._session = session
        self._idle_s = idle_s

    def add(self, digest: str, lifetime_s: float) -> _Row:
        """Store a new session."""
        row = _Row(
            digest=digest,
            created_at=now(self._session),
            used_at=now(self._session),
            expires_at=now(self._session, lifetime_s),
        )
        self._session.add(row)
        self._session.flush()
        self._session.refresh(row)
        return row

    def find(self, digests: Collection[str]) -> _Row | None:
        """Return the session with one of the digests, or None if there is none or it has ended."""
        query = select(_Row).where(_Row.digest.in_(digests), ~self._has_ended())
        return self._session.scalars(query).one_or_none()

    def touch(self, digests: Collection[str], interval_s: float) -> None:
        """Record that a session was used, if it lasts and that was recorded more than `interval_s` seconds ago."""
        is_due = _Row.used_at < now(self._session, -interval_s)
        statement = update(_Row).where(_Row.digest.in_(digests), is_due, ~self._has_ended())
        self._session.execute(statement.values(used_at=now(self._session)))

    def is_due(self, digests: Collection[str], interval_s: float) -> bool:
        """Return whether `touch` would change a session."""
        query = select(_Row.digest).where(_Row.digest.in_(digests), _Row.used_at < now(self._session, -interval_s))
        return self._session.scalars(query).first() is not None

    def delete(self, digests: Collection[str]) -> None:
        """Delete the sessions with these digests."""
        self._session.execute(delete(_Row).where(_Row.digest.in_(digests)))

    def delete_ended(self) -> None:
        """Delete all sessions that have ended."""
        self._session.execute(delete(_Row).where(self._has_ended()))

    def delete_oldest(self, max_sessions: int) -> int:
        """Delete the sessions that were not used for the longest time, so that `max_sessions` remain.

        Return the number of deleted sessions.
        """
        surplus = self._session.scalars(select(func.count()).select_from(_Row)).one() - max_sessions
        if surplus <= 0:
            return 0
        oldest = select(_Row.digest).order_by(_Row.used_at, _Row.digest).limit(surplus)
        result = self._session.execute(delete(_Row).where(_Row.digest.in_(oldest)))
        assert isinstance(result, CursorResult)  # noqa: S101 - the result of a DELETE
        return result.rowcount

    def _has_ended(self) -> ColumnElement[bool]:
        return or_(_Row.expires_at <= now(self._session), _Row.used_at <= now(self._session, -self._idle_s))
