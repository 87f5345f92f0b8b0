"""Submits batch predictions: jobs that predict the images of an uploaded archive."""

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from anyio import CancelScope
from anyio.to_thread import run_sync

from app.services.job_submission import JobSubmission
from app.services.jobs import JobView
from app.services.submission_store import Submission
from app.services.upload_threads import Inspection
from app.services.validation.resolve import get_training_dataset
from core.datasets.archives.limits import UploadLimits
from core.datasets.archives.uploads import inspect_upload
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.errors import InvalidArchive
from core.spec import DatasetSpec, PredictArchiveSpec
from core.storage import Storage


class BatchPredictionService:
    """Submits batch predictions."""

    def __init__(
        self, sessions: SessionFactory, storage: Storage, submission: JobSubmission, limits: UploadLimits
    ) -> None:
        """Initialize the service. `limits` are the limits of uploaded archives."""
        self._sessions = sessions
        self._storage = storage
        self._submission = submission
        self._limits = limits

    async def submit_archive(
        self,
        ref: str,
        archive: Path,
        *,
        top_k: int,
        batch_size: int,
        traceparent: str | None,
        run_inspection: Callable[[Inspection[None]], Awaitable[None]],
    ) -> JobView:
        """Move an archive into the storage and submit the job that predicts its images.

        `run_inspection` runs the check of the archive in a thread, until the client disconnects.

        Raises:
            NotFound: the model does not exist.
            InvalidArchive: the file is not an archive, or contains an unsafe entry.
            InvalidSpec: the inputs of the model are not images.
        """
        archive_id = uuid.uuid4().hex
        model, dataset = await run_sync(self._get_model, ref)
        spec = PredictArchiveSpec(
            kind="predict_archive",
            model=model,
            dataset=dataset,
            archive=archive_id,
            top_k=top_k,
            batch_size=batch_size,
        )
        key = f"uploads/{archive_id}"
        # Store the file before the job: maintenance deletes a file without a job.
        await run_inspection(partial(self._store_archive, archive, key))
        try:
            return await self._submission.submit_job(Submission(spec, traceparent=traceparent))
        except BaseException:
            with CancelScope(shield=True):
                await run_sync(self._storage.delete, key)
            raise

    def _get_model(self, ref: str) -> tuple[str, DatasetSpec | None]:
        """Return the reference and the training dataset, if any, of a model version."""
        with transaction(self._sessions, read_only=True) as session:
            row = ModelRepo(session).resolve(ref)
            return f"{row.name}@{row.version}", get_training_dataset(row)

    def _store_archive(self, archive: Path, key: str, *, is_cancelled: Callable[[], bool]) -> None:
        if inspect_upload(archive, self._limits, is_cancelled=is_cancelled) == "table":
            raise InvalidArchive("The file is a table, not an archive of images.", code="archive_unknown")
        self._storage.publish_file(archive, key)
