"""Queries for the reports that maintenance computes and the API shows."""

from typing import Any

from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.registry_tables import SystemReportRow


class SystemReportRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(self, name: str, content: dict[str, Any]) -> None:
        """Store a report. Replace the earlier report of the same name."""
        self._session.merge(SystemReportRow(name=name, content=content, computed_at=now(self._session)))
        self._session.flush()

    def find(self, name: str) -> SystemReportRow | None:
        return self._session.get(SystemReportRow, name, populate_existing=True)
