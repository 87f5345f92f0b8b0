"""Submits batch predictions: jobs that predict the images of an uploaded archive."""

import uuid
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.orm import Session

from app.services.jobs import JobService, JobView
from app.services.validation.resolve import get_training_dataset
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.uploads import inspect_upload
from core.db.repos.models import ModelRepo
from core.errors import InvalidArchive
from core.spec import PredictArchiveSpec
from core.storage import Storage


class BatchPredictionService:
    """Submits batch predictions. Every method runs in the caller's transaction."""

    def __init__(self, session: Session, storage: Storage, jobs: JobService, limits: UploadLimits) -> None:
        """Initialize the service. `limits` are the limits of uploaded archives."""
        self._models = ModelRepo(session)
        self._storage = storage
        self._jobs = jobs
        self._limits = limits

    def submit_archive(
        self,
        ref: str,
        archive: Path,
        *,
        top_k: int,
        batch_size: int,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> JobView:
        """Move an archive into the storage and submit the job that predicts its images.

        Raises:
            InspectionCancelled: `is_cancelled` returned True while the archive was checked.
            NotFound: the model does not exist.
            InvalidArchive: the file is not an archive, or contains an unsafe entry.
            InvalidSpec: the inputs of the model are not images.
        """
        row = self._models.resolve(ref)
        if inspect_upload(archive, self._limits, is_cancelled=is_cancelled) == "table":
            raise InvalidArchive("The file is a table, not an archive of images.", code="archive_unknown")
        archive_id = uuid.uuid4().hex
        spec = PredictArchiveSpec(
            kind="predict_archive",
            model=f"{row.name}@{row.version}",
            dataset=get_training_dataset(row),
            archive=archive_id,
            top_k=top_k,
            batch_size=batch_size,
        )
        key = f"uploads/{archive_id}"
        self._storage.publish_file(archive, key)  # before the job: without a job, maintenance deletes the file
        try:
            return self._jobs.submit_job(spec)
        except BaseException:
            self._storage.delete(key)
            raise
