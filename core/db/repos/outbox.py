"""Queries for the outbox table: messages that have not been sent to the queue yet."""

from collections.abc import Sequence
from typing import Literal

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.queue_tables import OutboxRow

Topic = Literal["train", "import"]


class OutboxRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, topic: Topic, subject_id: str) -> OutboxRow:
        """Add a message in the current transaction. The outbox relay sends it after the commit."""
        row = OutboxRow(topic=topic, subject_id=subject_id, created_at=now(self._session))
        self._session.add(row)
        self._session.flush()
        return row

    def list_oldest(self, limit: int = 100) -> list[OutboxRow]:
        return list(self._session.scalars(select(OutboxRow).order_by(OutboxRow.id).limit(limit)))

    def add_missing(self, topic: Topic, subject_id: str) -> bool:
        """Add a message, unless the outbox has one for the same subject. Return whether it was added."""
        query = select(OutboxRow.id).where(OutboxRow.topic == topic, OutboxRow.subject_id == subject_id)
        if self._session.scalars(query.limit(1)).one_or_none() is not None:
            return False
        self.add(topic, subject_id)
        return True

    def count(self) -> int:
        return self._session.scalars(select(func.count()).select_from(OutboxRow)).one()

    def delete(self, ids: Sequence[int]) -> None:
        self._session.execute(delete(OutboxRow).where(OutboxRow.id.in_(ids)))
