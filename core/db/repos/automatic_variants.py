"""Queues the jobs that choose the variants of newly trained model versions."""

from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.jobs import JobRepo
from core.db.repos.unresolved_jobs import build_unresolved_job
from core.db.tables import JobRow, ModelVersionRow
from core.spec import AUTO, DatasetSpec, VariantSpec

PRIORITY = -20
"""The priority of these jobs in the queue: all trainings come first, also those of sweeps."""
MAX_NAME = 40


class AutomaticVariantRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def queue_job(self, training: JobRow, version: ModelVersionRow) -> JobRow | None:
        """Queue a job that chooses the variant of a version, in the transaction that registers the version.

        The API validates the job before a worker claims it.

        Args:
            training: the job that has trained the version.
            version: the version that is being registered.

        Returns:
            The job; None if the version can have no variant: its inputs are not images, or its training has no
            validation samples.
        """
        if len(version.bundle.get("image_shape", ())) != 3 or not has_validation_samples(training):
            return None
        return JobRepo(self._session).add(
            build_unresolved_job(
                build_spec(version),
                dataset_version_id=training.dataset_version_id,
                priority=PRIORITY,
                traceparent=training.traceparent,
            )
        )


def has_validation_samples(training: JobRow) -> bool:
    """Return whether a training has reported validation samples."""
    splits: dict[str, Any] = (training.runtime or {}).get("splits") or {}
    return bool(splits.get("valid"))


def build_spec(version: ModelVersionRow) -> VariantSpec:
    """Return the spec of the job: the dataset of the training, and the defaults of variants."""
    dataset = {key: value for key, value in version.spec["dataset"].items() if key != "train_transforms"}
    return VariantSpec(
        kind="variant",
        name=f"variant-{version.name[:MAX_NAME]}-{version.version}",
        model=f"{version.name}@{version.version}",
        dataset=DatasetSpec.model_validate(dataset),
        format=AUTO,
    )
