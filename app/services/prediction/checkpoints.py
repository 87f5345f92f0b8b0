"""Predicts with a checkpoint of a job, also while the job runs."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from app.services.prediction.predictions import Prediction, PredictionService
from app.services.prediction.version_cache import ServedModel, get_image_shape
from app.serving.decoding import ImageInput
from app.serving.table_input import TableRow
from app.serving.types import BundleRef
from core.datasets.columns import Table
from core.db.repos.checkpoints import WEIGHTS, CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow
from core.errors import Conflict, CorruptFile
from core.resizing import ResizePolicy
from core.spec.job_kinds import Views

CheckpointTag = Literal["best", "latest"]
METADATA_FILE = "bundle.json"
NO_BEST_HINT = " Add a callback that marks the best checkpoint, such as model_checkpoint, or use the latest checkpoint."


class CheckpointRef(NamedTuple):
    """The checkpoint that computed a prediction. `sha256` is the checksum of its weights."""

    job_id: str
    checkpoint: int
    epoch: int
    step: int
    sha256: str


class CheckpointPredictionResult(NamedTuple):
    """The checkpoint, and one prediction per instance in the order of the request."""

    checkpoint: CheckpointRef
    predictions: list[Prediction]


class CheckpointPredictionService:
    """Predicts with checkpoints. A checkpoint has the files of a bundle, so it is loaded like a model version."""

    def __init__(self, sessions: SessionFactory, predictions: PredictionService) -> None:
        self._sessions = sessions
        self._predictions = predictions

    async def get_max_json_values(self, job_id: str, tag: CheckpointTag) -> int:
        """Return how many values and keys the JSON of a request may have. Raises NotFound, Conflict."""
        _, model = await asyncio.to_thread(self._find_checkpoint, job_id, tag)
        return self._predictions.compute_max_json_values(model)

    async def predict(
        self,
        job_id: str,
        tag: CheckpointTag,
        instances: Sequence[ImageInput | TableRow],
        top_k: int | None,
        deadline: float | None = None,
        views: Views = "none",
    ) -> CheckpointPredictionResult:
        """Predict instances with the latest or the best checkpoint.

        Raises:
            NotFound: the job does not exist.
            Conflict: the job has no checkpoint with this tag yet, or an old version of the service wrote it.
            ServiceError: see `PredictionService.predict`.
        """
        ref, model = await asyncio.to_thread(self._find_checkpoint, job_id, tag)
        try:
            predictions = await self._predictions.predict_version(model, instances, top_k, deadline, views)
        except CorruptFile:  # the running job may have replaced this checkpoint: find the current one
            newer, model = await asyncio.to_thread(self._find_checkpoint, job_id, tag)
            if newer == ref:
                raise
            ref = newer
            predictions = await self._predictions.predict_version(model, instances, top_k, deadline, views)
        return CheckpointPredictionResult(ref, predictions)

    def _find_checkpoint(self, job_id: str, tag: CheckpointTag) -> tuple[CheckpointRef, ServedModel]:
        with transaction(self._sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            row = next((row for row in CheckpointRepo(session).list_checkpoints(job_id) if tag in row.tags), None)
            if row is None:
                hint = NO_BEST_HINT if tag == "best" else ""
                raise Conflict(f"Job {job.name!r} has no {tag} checkpoint.{hint}", state=job.state)
            assert job.dataset_version_id is not None  # noqa: S101 - only trainings have checkpoints
            meta = DatasetRepo(session).get(job.dataset_version_id).meta or {}
            return CheckpointRef(job_id, row.number, row.epoch, row.step, row.sha256), _to_served_model(
                job.name, row, meta
            )


def _to_served_model(name: str, row: CheckpointRow, meta: dict[str, Any]) -> ServedModel:
    if METADATA_FILE not in row.files:
        raise Conflict("The checkpoint has no bundle.json, because an old version of the service wrote it.")
    files = tuple((file, row.files[file]["sha256"]) for file in sorted((WEIGHTS, METADATA_FILE)))
    return ServedModel(
        name=name,
        version=row.number,
        bundle=BundleRef(row.key, files, name),
        task=meta["task"],
        classes=tuple(meta["classes"]),
        image_shape=get_image_shape(meta["image_shape"]),
        resize=ResizePolicy.from_dict(meta),
        num_outputs=meta["num_outputs"],
        table=Table.model_validate(meta["table"]) if meta.get("table") else None,
    )
