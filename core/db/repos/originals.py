"""Queries for the trainings that reproductions repeat."""

from sqlalchemy.orm import Session

from core.db.registry_tables import JobBundleRow
from core.db.repos.job_bundles import JobBundleRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.tables import JobRow, ModelVersionRow
from core.reproduction import OriginalTraining


class OriginalRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def find_sha256(self, job: JobRow) -> str | None:
        """Return the hash of the weights that a job trained; None if it has none, or their model was deleted."""
        if job.model_version is not None:
            version = ModelRepo(self._session).find(job.model_name, job.model_version)
            return None if version is None else version.sha256
        bundle = JobBundleRepo(self._session).find(job.id)
        return None if bundle is None else bundle.sha256

    def is_result(self, job: JobRow, sha256: str) -> bool:
        """Return whether a job trained weights with this hash that still exist."""
        return sha256 == self.find_sha256(job) or ModelRepo(self._session).find_registered(job.id, sha256) is not None

    def read(self, job_id: str, sha256: str) -> OriginalTraining:
        """Return what is still known of a training: from its job, and from the model version that it registered."""
        job = JobRepo(self._session).find(job_id)
        version = ModelRepo(self._session).find_registered(job_id, sha256)
        network = version or _match(JobBundleRepo(self._session).find(job_id), sha256)
        original = OriginalTraining(job_id, sha256)
        if network is not None:
            original = original._replace(dataset=network.dataset, metrics=network.metrics)
        if version is not None:
            original = original._replace(model=f"{version.name}@{version.version}", spec=version.spec)
        if job is None:
            return original
        return original._replace(
            spec=original.spec or job.spec,
            runtime=job.runtime or {},
            stop_reason=job.stop_reason,
            num_steps=job.progress.get("step"),
            is_extended=job.extension is not None,
            has_curves=not job.has_expired_points,
        )


def _match(network: JobBundleRow | ModelVersionRow | None, sha256: str) -> JobBundleRow | ModelVersionRow | None:
    return network if network is not None and network.sha256 == sha256 else None
