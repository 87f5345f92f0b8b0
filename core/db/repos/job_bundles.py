"""Queries for the trained networks of jobs that register no model version."""

from collections.abc import Collection

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from core.db.clock import now
from core.db.registry_tables import JobBundleRow
from core.db.repos.automatic_variants import AutomaticVariantRepo
from core.db.repos.models import ModelRepo
from core.db.repos.transitions import get_job_for_update, lock_job_for_attempt
from core.db.tables import JobRow, ModelVersionRow
from core.errors import Conflict
from core.jobs import JobState


class JobBundleRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find(self, job_id: str) -> JobBundleRow | None:
        return self._session.get(JobBundleRow, job_id)

    def put(self, bundle: JobBundleRow) -> str | None:
        """Store the bundle of a job instead of an earlier one, whose storage key is returned.

        Raises:
            LostLease: the attempt with the bundle's token does not hold the lease of the job.
        """
        lock_job_for_attempt(self._session, bundle.job_id, bundle.token)
        replaced = self.find(bundle.job_id)
        key = None if replaced is None else replaced.key
        bundle.created_at = now(self._session)
        self._session.merge(bundle)
        self._session.flush()
        return key

    def register(self, job_id: str, *, queues_variant: bool = False) -> ModelVersionRow | None:
        """Register the bundle of a job as the next version of its model, which then owns the files.

        Return None if the job has registered its network before. `queues_variant`: whether to queue the job that
        chooses the variant of the version.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has not succeeded, also if it had before it was extended, or it trains no network.
        """
        job = get_job_for_update(self._session, job_id)
        if job.state is not JobState.SUCCEEDED:
            raise Conflict(f"A job that is {job.state} cannot register its network.", state=job.state)
        bundle = self.find(job_id)
        if bundle is None:
            if job.model_version is not None:
                return None
            raise Conflict(f"Job {job.name!r} has no trained network: only trainings have one.", state=job.state)
        version = ModelRepo(self._session).add(_build_version(job, bundle), bundle.token)
        job.model_version = version.version
        if queues_variant:
            AutomaticVariantRepo(self._session).queue_job(job, version)
        self._session.execute(delete(JobBundleRow).where(JobBundleRow.job_id == job_id))
        return version

    def filter_keys(self, keys: Collection[str]) -> set[str]:
        """Return those of the storage keys under which bundles are stored."""
        return set(self._session.scalars(select(JobBundleRow.key).where(JobBundleRow.key.in_(keys))))


def _build_version(job: JobRow, bundle: JobBundleRow) -> ModelVersionRow:
    columns = ("key", "files", "sha256", "size_bytes", "bundle", "metrics", "dataset", "num_parameters")
    fields = {name: getattr(bundle, name) for name in columns}
    return ModelVersionRow(name=job.model_name, job_id=job.id, spec=job.spec, **fields)
