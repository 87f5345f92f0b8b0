"""Deletes sweeps, alone or with their jobs."""

from collections.abc import Callable

from sqlalchemy.orm import Session

from app.services.in_use import build_in_use_error
from app.services.jobs import JobService
from app.services.sweeps import SweepService
from core.db.repos.sweep_dependents import SweepDependentRepo
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.sweeps.states import TERMINAL_SWEEP

MAX_JOBS_AT_ONCE = 50
"""Jobs that one transaction deletes, so that others do not wait long for it: a sweep can have thousands of jobs."""


class SweepDeletion:
    """Deletes sweeps that have ended.

    Args:
        open_sweeps: function that builds a sweep service for an open session.
        open_jobs: function that builds a job service for an open session.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        *,
        open_sweeps: Callable[[Session], SweepService],
        open_jobs: Callable[[Session], JobService],
    ) -> None:
        self._sessions = sessions
        self._open_sweeps = open_sweeps
        self._open_jobs = open_jobs

    def delete_sweep(self, sweep_id: str, *, with_jobs: bool) -> None:
        """Delete a sweep with its trials, and, if `with_jobs` is true, first its jobs with their files.

        If the process ends meanwhile, the sweep and some of its jobs remain, and can be deleted again.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep has not ended.
            ResourceInUse: the jobs cannot be deleted: they have registered models, other jobs start from their
                checkpoints, or some of them have not ended.
        """
        is_deleted = False
        while not is_deleted:
            with transaction(self._sessions) as session:
                row = SweepRepo(session).get(sweep_id, is_locked=True)
                if not with_jobs or row.state not in TERMINAL_SWEEP or not self._delete_jobs(session, sweep_id):
                    self._open_sweeps(session).delete_sweep(sweep_id)
                    is_deleted = True

    def _delete_jobs(self, session: Session, sweep_id: str) -> bool:
        """Delete some jobs of a sweep. Return whether it had any."""
        dependents, jobs = SweepDependentRepo(session), self._open_jobs(session)
        if models := dependents.list_models(sweep_id):
            raise build_in_use_error("Jobs of the sweep have registered models; delete these first.", models, "model")
        if unfinished := dependents.list_unfinished_jobs(sweep_id):
            detail = "Jobs of the sweep have not ended. Cancel them or wait until they have ended."
            raise build_in_use_error(detail, unfinished, "job")
        if others := dependents.list_dependent_jobs(sweep_id):
            detail = "Other jobs require checkpoints of the sweep. Cancel them or wait until they have checkpoints."
            raise build_in_use_error(detail, others, "job")
        found = dependents.list_jobs(sweep_id, MAX_JOBS_AT_ONCE)
        for job_id in found:
            jobs.delete_job(job_id)
        return bool(found)
