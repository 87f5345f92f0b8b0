"""Queries for lists of jobs."""

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.tables import JobRow


class JobListRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find_missing_ids(self, ids: Sequence[str]) -> list[str]:
        """Return the ids to which no job belongs."""
        existing = set(self._session.scalars(select(JobRow.id).where(JobRow.id.in_(ids))))
        return [job_id for job_id in ids if job_id not in existing]
