"""What a client can ask of a job that still runs: predictions by what it has learnt so far."""

import asyncio
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from app.services.prediction.predictions import Prediction, PredictionService
from app.services.prediction.version_cache import ServedModel, get_image_shape
from app.serving.decoding import Sent
from app.serving.table_input import Row
from app.serving.types import BundleRef
from core.datasets.tables.columns import Table
from core.db.repos.checkpoints import WEIGHTS, CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import CheckpointRow
from core.errors import Conflict, CorruptFile

CheckpointTag = Literal["best", "latest"]
METADATA_FILE = "bundle.json"
NO_BEST_HINT = (
    " A callback that watches a metric, such as model_checkpoint, says which is best; else ask for the latest."
)


class CheckpointRef(NamedTuple):
    """The checkpoint that answered; `sha256` is that of its weights."""

    job_id: str
    checkpoint: int
    epoch: int
    step: int
    sha256: str


class CheckpointPredictionResult(NamedTuple):
    """One prediction a picture, in the order they were sent."""

    checkpoint: CheckpointRef
    predictions: list[Prediction]


class CheckpointPredictionService:
    """A checkpoint has the files of a bundle among its own; in memory it is a network as any other, by its key."""

    def __init__(self, sessions: SessionFactory, predictions: PredictionService) -> None:
        self._sessions = sessions
        self._predictions = predictions

    async def predict(
        self,
        job_id: str,
        tag: CheckpointTag,
        instances: Sequence[Sent | Row],
        top_k: int | None,
        deadline: float | None = None,
    ) -> CheckpointPredictionResult:
        """Predict pictures with the newest checkpoint, or the best.

        Raises:
            NotFound: there is no such job.
            Conflict: it has no such checkpoint yet.
            and what `PredictionService.predict` raises.
        """
        ref, model = await asyncio.to_thread(self._find_checkpoint, job_id, tag)
        try:
            predictions = await self._predictions.predict_version(model, instances, top_k, deadline)
        except CorruptFile:  # a running job lets go of old checkpoints: this one may just have gone
            newer, model = await asyncio.to_thread(self._find_checkpoint, job_id, tag)
            if newer == ref:
                raise
            ref, predictions = newer, await self._predictions.predict_version(model, instances, top_k, deadline)
        return CheckpointPredictionResult(ref, predictions)

    def _find_checkpoint(self, job_id: str, tag: CheckpointTag) -> tuple[CheckpointRef, ServedModel]:
        with transaction(self._sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            row = next((one for one in CheckpointRepo(session).all(job_id) if tag in one.tags), None)
            if row is None:
                hint = NO_BEST_HINT if tag == "best" else ""
                raise Conflict(f"Job {job.name!r} has no checkpoint that is {tag}.{hint}", state=job.state)
            meta = DatasetRepo(session).get(job.dataset_version_id).meta or {}
            return CheckpointRef(job_id, row.number, row.epoch, row.step, row.sha256), _to_served_model(
                job.name, row, meta
            )


def _to_served_model(name: str, row: CheckpointRow, meta: dict[str, Any]) -> ServedModel:
    if METADATA_FILE not in row.files:
        raise Conflict("The checkpoint was stored by a version of the service that described no checkpoints.")
    files = tuple((file, row.files[file]["sha256"]) for file in sorted((WEIGHTS, METADATA_FILE)))
    return ServedModel(
        name=name,
        version=row.number,
        bundle=BundleRef(row.key, files, name),
        task=meta["task"],
        classes=tuple(meta["classes"]),
        image_shape=get_image_shape(meta["image_shape"]),
        resize=meta["resize"],
        num_outputs=meta["num_outputs"],
        table=Table.model_validate(meta["table"]) if meta.get("table") else None,
    )
