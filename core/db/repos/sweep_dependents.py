"""Queries for the jobs of a sweep, and for what prevents that they are deleted with it."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from core.db.repos.checkpoints import CheckpointRepo
from core.db.tables import JobRow, ModelVersionRow
from core.jobs import UNFINISHED


class SweepDependentRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def list_jobs(self, sweep_id: str, limit: int) -> list[str]:
        """List the ids of the first jobs of a sweep by trial and repeat."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id)
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat).limit(limit)))

    def list_unfinished_jobs(self, sweep_id: str) -> list[str]:
        """List the ids of the jobs of a sweep that have not ended: a client has resumed or extended them."""
        query = select(JobRow.id).where(JobRow.sweep_id == sweep_id, JobRow.state.in_(UNFINISHED))
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat)))

    def list_dependent_jobs(self, sweep_id: str) -> list[str]:
        """List the ids of the jobs that will start from a checkpoint of a job of a sweep."""
        source = select(JobRow.id).where(JobRow.sweep_id == sweep_id)
        query = select(JobRow.resume_from_job_id).where(
            JobRow.resume_from_job_id.in_(source), JobRow.state.in_(UNFINISHED)
        )
        checkpoints = CheckpointRepo(self._session)
        sources = sorted({job_id for job_id in self._session.scalars(query) if job_id is not None})
        return [dependent for job_id in sources for dependent in checkpoints.find_dependents(job_id)]

    def list_models(self, sweep_id: str) -> list[str]:
        """List the model versions that jobs of a sweep have registered, as `name@version`."""
        row = ModelVersionRow
        query = select(row.name, row.version).join(JobRow, JobRow.id == row.job_id).where(JobRow.sweep_id == sweep_id)
        return [f"{name}@{version}" for name, version in self._session.execute(query.order_by(row.name, row.version))]
