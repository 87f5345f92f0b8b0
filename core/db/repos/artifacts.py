"""Queries for artifacts: named files that jobs write in addition to models."""

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.repos.transitions import lock_job_for_attempt
from core.db.tables import ArtifactRow
from core.errors import NotFound


class ArtifactRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def put(
        self, job_id: str, token: int, name: str, *, media_type: str, key: str, sha256: str, size_bytes: int
    ) -> str | None:
        """Register a stored file as an artifact of a job. Replace the artifact with the same name, if any.

        Returns:
            The storage key of the replaced artifact, or None. The caller deletes its file after the commit.

        Raises:
            LostLease: the attempt with this token does not hold the lease of the job.
        """
        lock_job_for_attempt(self._session, job_id, token)
        row = self._session.get(ArtifactRow, (job_id, name))
        previous_key = None if row is None else row.key
        if row is None:
            row = ArtifactRow(job_id=job_id, name=name)
            self._session.add(row)
        row.token, row.media_type, row.key = token, media_type, key
        row.sha256, row.size_bytes, row.created_at = sha256, size_bytes, now(self._session)
        self._session.flush()
        return previous_key

    def list_artifacts(self, job_id: str) -> list[ArtifactRow]:
        """List the artifacts of a job, ordered by name."""
        query = select(ArtifactRow).where(ArtifactRow.job_id == job_id).order_by(ArtifactRow.name)
        return list(self._session.scalars(query))

    def get(self, job_id: str, name: str) -> ArtifactRow:
        row = self._session.get(ArtifactRow, (job_id, name))
        if row is None:
            names = [row.name for row in self.list_artifacts(job_id)]
            raise NotFound(f"Job {job_id!r} has no file {name!r}.", known=names)
        return row

    def filter_keys(self, job_ids: Collection[str], keys: Collection[str]) -> set[str]:
        """Return the storage keys under which an artifact of one of the jobs is stored."""
        query = select(ArtifactRow.key).where(ArtifactRow.job_id.in_(job_ids), ArtifactRow.key.in_(keys))
        return set(self._session.scalars(query))
