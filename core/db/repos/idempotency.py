"""Queries for idempotency keys."""

from datetime import timedelta

from sqlalchemy import delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.tables import IdempotencyRow
from core.errors import Conflict


class IdempotencyRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, key: str) -> IdempotencyRow | None:
        return self._session.get(IdempotencyRow, key)

    def add(self, key: str, request_hash: str, subject_id: str) -> IdempotencyRow:
        """Store an idempotency key with the hash of its request and the id of the created job or sweep.

        Raises:
            Conflict: another request with the same key is in progress.
        """
        row = IdempotencyRow(key=key, request_hash=request_hash, subject_id=subject_id, created_at=now(self._session))
        try:
            with self._session.begin_nested():
                self._session.add(row)
        except IntegrityError as error:
            raise Conflict("A request with this Idempotency-Key is in progress; retry later.") from error
        return row

    def delete_older_than(self, age: timedelta) -> None:
        """Delete idempotency keys that are older than `age`."""
        cutoff = now(self._session, -age.total_seconds())
        self._session.execute(delete(IdempotencyRow).where(IdempotencyRow.created_at < cutoff))
