"""Queries for sweeps in the order of their changes."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from core.db.sweep_tables import SweepRow


class SweepChangeRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_after(self, after: tuple[datetime, str], limit: int) -> Sequence[SweepRow]:
        """Return the first sweeps that changed after a time and an id."""
        query = select(SweepRow).where(tuple_(SweepRow.updated_at, SweepRow.id) > after)
        return self._session.scalars(query.order_by(SweepRow.updated_at, SweepRow.id).limit(limit)).all()
