"""Reads the outbox."""

from sqlalchemy import select

from core.db.queue_tables import OutboxRow
from core.db.session import SessionFactory, transaction


def list_messages(sessions: SessionFactory) -> list[tuple[str, str]]:
    """Return the topics and subjects of the messages that wait."""
    with transaction(sessions, read_only=True) as session:
        return [(row.topic, row.subject_id) for row in session.scalars(select(OutboxRow))]
