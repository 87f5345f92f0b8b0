"""What a client can do with an archive of pictures: have them predicted by a job."""

import uuid
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
    def __init__(self, session: Session, storage: Storage, jobs: JobService, limits: UploadLimits) -> None:
        """`limits`: what an upload may hold."""
        self._models = ModelRepo(session)
        self._storage = storage
        self._jobs = jobs
        self._limits = limits

    def submit_archive(self, ref: str, archive: Path, *, top_k: int, batch_size: int) -> JobView:
        """Take in an archive, which is consumed, and submit the job that predicts its pictures.

        Raises:
            NotFound: there is no such model.
            InvalidArchive: a quick look shows that it is none, or holds an unsafe entry.
            InvalidSpec: the model reads no pictures.
        """
        row = self._models.resolve(ref)
        if inspect_upload(archive, self._limits) == "table":
            raise InvalidArchive("This is a table, not an archive of pictures.", code="archive_unknown")
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
        self._storage.publish_file(archive, key)  # first: a file without a job is swept, a job without a file fails
        try:
            return self._jobs.submit_job(spec)
        except BaseException:
            self._storage.delete(key)
            raise
