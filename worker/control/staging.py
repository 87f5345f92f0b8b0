"""What must be here before a trainer can start: dataset, model, newest undamaged snapshot, and room for more."""

from pathlib import Path

import structlog

from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.models import ModelRepo
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.errors import CorruptFile, InvalidSpec, NotReady, StorageFull, Unavailable
from core.spec import ANY_JOB, AnyJobSpec, ModelJobSpec, PredictArchiveSpec, TrainingSpec
from core.spec.job import PRETRAINED
from core.storage import Storage
from worker.control.recorder import RESERVE_BYTES, Recorder
from worker.protocol import Start

log = structlog.get_logger()


class InputStaging:
    """Of one attempt. It fetches and looks; all it writes are warnings, and it deletes what the job can do without."""

    def __init__(
        self, storage: Storage, recorder: Recorder, job: JobRow, version: DatasetVersionRow, weights_dir: Path
    ) -> None:
        """`weights_dir`: this worker's files of weights that jobs may begin with."""
        self._storage, self._recorder, self._job, self._version = storage, recorder, job, version
        self._weights_dir = weights_dir

    def start(self, lease_s: float) -> Start:
        """What the trainer is told first; its work folder is the caller's to delete.

        Raises:
            Corrupt: the dataset, a model, or every checkpoint is damaged.
            InvalidSpec, NotFound: the model, checkpoint or file of weights that the job names is not there.
            StorageFull: there is no room here.
            pydantic.ValidationError: the spec is of another version.
        """
        spec = ANY_JOB.validate_python(self._job.spec)
        checkpoints = self._recorder.write(lambda session: CheckpointRepo(session).resumable(self._job.id))
        self._need_room(max((row.size_bytes for row in checkpoints), default=0))
        archive = self._storage.path(f"uploads/{spec.archive}") if isinstance(spec, PredictArchiveSpec) else None
        resume_dir, model_dir = self._newest(checkpoints), self._model(spec)
        begin_dir = None if resume_dir else self._begin(spec)
        return Start(
            job_id=self._job.id,
            attempt=self._job.attempt,
            spec=spec,
            dataset_dir=str(self._dataset()) if archive is None else "",
            dataset=dataset_lineage(self._version),
            work_dir=str(self._storage.scratch()),
            resume_dir=str(resume_dir) if resume_dir else None,
            model_dir=str(model_dir) if model_dir else None,
            weights_path=self._weights(spec),
            begin_dir=str(begin_dir) if begin_dir else None,
            archive_path=str(archive) if archive else None,
            lease_s=lease_s,
        )

    def _dataset(self) -> Path:
        meta, key = self._version.meta or {}, self._version.packed_key or ""
        return self._storage.fetch(key, {name: file["sha256"] for name, file in meta.get("files", {}).items()})

    def _model(self, spec: AnyJobSpec) -> Path | None:
        """The bundle of the model that is examined, or begun with."""
        ref = spec.model if isinstance(spec, ModelJobSpec) else spec.init_from
        if ref is None:
            return None
        row = self._recorder.write(lambda session: ModelRepo(session).resolve(ref))
        return self._storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})

    def _begin(self, spec: AnyJobSpec) -> Path | None:
        """The checkpoint of another job that this one begins with."""
        asked = spec.resume_from if isinstance(spec, TrainingSpec) else None
        if asked is None:
            return None
        number = int(asked.checkpoint)  # a resolved spec has no words for it
        row = self._recorder.write(lambda session: CheckpointRepo(session).get(asked.job, number))
        return self._storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})

    def _weights(self, spec: AnyJobSpec) -> str | None:
        if isinstance(spec, ModelJobSpec) or spec.weights is None or spec.weights == PRETRAINED:
            return None
        path = self._weights_dir / spec.weights.removeprefix("file:")
        if not path.is_file():
            raise InvalidSpec(f"There is no file {path.name!r} in the folder of weights, {path.parent}.")
        return str(path)

    def _need_room(self, snapshot_bytes: int) -> None:
        needed = snapshot_bytes + RESERVE_BYTES
        if self._storage.free_bytes() < needed and self._recorder.free_space():
            log.warning("attempt.made_room", needed_bytes=needed)
        free = self._storage.free_bytes()
        if free < needed:
            raise StorageFull("The worker has too little space to begin.", free_bytes=free, needed_bytes=needed)

    def _newest(self, checkpoints: list[CheckpointRow]) -> Path | None:
        damage: CorruptFile | None = None
        for row in checkpoints:
            try:
                return self._storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})
            except CorruptFile as error:
                damage = error
                self._recorder.warn(f"Checkpoint {row.number} is damaged and was passed over: {error.detail}")
        if damage is not None:
            raise damage
        return None


def dataset_lineage(version: DatasetVersionRow) -> dict[str, str | int | None]:
    """A dataset as its models name it."""
    return {"name": version.name, "version": version.version, "content_hash": version.content_hash}


def check_storage(storage: Storage) -> None:
    """Whoever failed for a reason of which nobody knows may have failed for want of the storage.

    Raises:
        Unavailable: it cannot be written.
    """
    try:
        storage.check()
    except NotReady as error:
        raise Unavailable(error.detail) from error
