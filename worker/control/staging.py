"""Fetches the inputs of an attempt, such as the dataset and the newest checkpoint, and checks the disk space."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import structlog

from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.models import ModelRepo
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.errors import CorruptFile, InvalidSpec, NotFound, NotReady, StorageFull, Unavailable
from core.spec import ANY_JOB, AnyJobSpec, ModelJobSpec, PredictArchiveSpec, RegisterSpec, TrainingSpec
from core.spec.extension import Extension
from core.spec.job import PRETRAINED
from core.storage import Storage
from worker.control.file_recorder import RESERVED_BYTES
from worker.control.recorder import Recorder
from worker.protocol import Start

log = structlog.get_logger()
PYTORCH_SUFFIXES = (".pt", ".pth")


class InputStaging:
    """Fetches the inputs of one attempt.

    If the disk is full, checkpoints that are not needed are deleted. Damaged checkpoints are skipped and added to the
    job's warnings.

    Args:
        weights_dir: the folder of the files that a spec can name with `weights: "file:…"`.
    """

    def __init__(
        self,
        storage: Storage,
        recorder: Recorder,
        job: JobRow,
        version: DatasetVersionRow | None,
        weights_dir: Path,
    ) -> None:
        self._storage = storage
        self._recorder = recorder
        self._job = job
        self._version = version
        self._weights_dir = weights_dir

    def stage_inputs(self, lease_s: float) -> Start:
        """Fetch all inputs and return the trainer's start message. The caller must delete the message's `work_dir`.

        Args:
            lease_s: seconds without a renewal of the lease after which the trainer exits.

        Raises:
            CorruptFile: the dataset, the model or every checkpoint is damaged.
            InvalidSpec, NotFound: a model, checkpoint or weights file that the spec names does not exist.
            StorageFull: there is not enough disk space.
            pydantic.ValidationError: the stored spec is not valid in this version of the service.
        """
        spec = ANY_JOB.validate_python(self._job.spec)
        checkpoints = self._recorder.transactions.run(
            lambda session: CheckpointRepo(session).list_resumable(self._job.id)
        )
        self._check_free_space(max((row.size_bytes for row in checkpoints), default=0))
        archive = self._storage.fetch_file(f"uploads/{spec.archive}") if isinstance(spec, PredictArchiveSpec) else None
        resume_dir = self._fetch_newest_checkpoint(checkpoints)
        model_dir = self._fetch_model(spec, is_resumed=resume_dir is not None)
        initial_checkpoint_dir = None if resume_dir else self._fetch_initial_checkpoint(spec)
        return Start(
            job_id=self._job.id,
            attempt=self._job.attempt,
            spec=spec,
            dataset_dir="" if archive is not None or self._version is None else str(self._fetch_dataset(self._version)),
            dataset=build_dataset_lineage(self._version),
            work_dir=str(self._storage.create_scratch_folder()),
            resume_dir=str(resume_dir) if resume_dir else None,
            model_dir=str(model_dir) if model_dir else None,
            weights_path=self._find_weights_file(spec),
            initial_checkpoint_dir=str(initial_checkpoint_dir) if initial_checkpoint_dir else None,
            archive_path=str(archive) if archive else None,
            extension=None if self._job.extension is None else Extension.model_validate(self._job.extension),
            milestone_epoch=self._job.milestone_epoch,
            lease_s=lease_s,
        )

    def _fetch_dataset(self, version: DatasetVersionRow) -> Path:
        meta, key = version.meta or {}, version.packed_key or ""
        return self._fetch_files(key, meta.get("files", {}))

    def _fetch_model(self, spec: AnyJobSpec, *, is_resumed: bool) -> Path | None:
        """Fetch the bundle of the model that is evaluated, exported or used as initial weights.

        A training that resumes from its own checkpoint continues if the model of its initial weights was deleted.
        """
        if isinstance(spec, RegisterSpec):
            return None
        ref = spec.model if isinstance(spec, ModelJobSpec) else spec.init_from
        if ref is None:
            return None
        try:
            row = self._recorder.transactions.run(lambda session: ModelRepo(session).resolve(ref))
        except NotFound:
            if is_resumed:
                return None
            raise
        return self._fetch_files(row.key, row.files)

    def _fetch_initial_checkpoint(self, spec: AnyJobSpec) -> Path | None:
        """Fetch the checkpoint of another job that `resume_from` names."""
        source = spec.resume_from if isinstance(spec, TrainingSpec) else None
        if source is None:
            return None
        number = int(source.checkpoint)  # "latest" and "best" were replaced by a number when the spec was resolved
        row = self._recorder.transactions.run(lambda session: CheckpointRepo(session).get(source.job, number))
        return self._fetch_files(row.key, row.files)

    def _find_weights_file(self, spec: AnyJobSpec) -> str | None:
        if isinstance(spec, ModelJobSpec) or spec.weights is None or spec.weights == PRETRAINED:
            return None
        path = self._weights_dir / spec.weights.removeprefix("file:")
        if not path.is_file():
            raise InvalidSpec(
                f"The weights file {path.name!r} does not exist in the weights folder {path.parent}."
                f"{describe_conversion(path, spec.architecture.name)}"
            )
        return str(path)

    def _check_free_space(self, snapshot_bytes: int) -> None:
        needed_bytes = snapshot_bytes + RESERVED_BYTES
        if self._storage.get_free_bytes() < needed_bytes and self._recorder.files.free_space():
            log.warning("checkpoints.pruned", needed_bytes=needed_bytes)
        free_bytes = self._storage.get_free_bytes()
        if free_bytes < needed_bytes:
            raise StorageFull(
                f"The worker has {free_bytes} bytes of free disk space; the job needs {needed_bytes}.",
                free_bytes=free_bytes,
                needed_bytes=needed_bytes,
            )

    def _fetch_newest_checkpoint(self, checkpoints: list[CheckpointRow]) -> Path | None:
        """Fetch the newest checkpoint that is not damaged. Return None if the job has no checkpoints.

        Raises:
            CorruptFile: all checkpoints are damaged.
        """
        damage: CorruptFile | None = None
        for row in checkpoints:
            try:
                return self._fetch_files(row.key, row.files)
            except CorruptFile as error:
                damage = error
                self._recorder.progress.add_warning(
                    f"Checkpoint {row.number} is damaged and was skipped: {error.detail}"
                )
        if damage is not None:
            raise damage
        return None

    def _fetch_files(self, key: str, files: Mapping[str, Any]) -> Path:
        return self._storage.fetch(key, {name: file["sha256"] for name, file in files.items()})


def describe_conversion(path: Path, architecture: str) -> str:
    """Return how to convert a PyTorch file in the folders of a missing weights file; empty if there is none."""
    stem = path.name.removesuffix(".safetensors").lower()
    files = [file for folder in (path.parent, path.parent.parent) for file in sorted(folder.glob("*.pt*"))]
    found = [file for file in files if file.suffix in PYTORCH_SUFFIXES]
    similar = [file for file in found if file.stem.lower().startswith(stem)]
    if not found:
        return ""
    file = (similar or found)[0]
    command = f"candela weights convert {file} --architecture {architecture} --output {path}"
    return f" {file.name!r} is a PyTorch file, which the service does not read. Convert it: {command}"


def build_dataset_lineage(version: DatasetVersionRow | None) -> dict[str, str | int | None]:
    """Return the fields that identify the training dataset of a model. Without a dataset, the result is empty."""
    if version is None:
        return {}
    return {"name": version.name, "version": version.version, "content_hash": version.content_hash}


def check_storage(storage: Storage) -> None:
    """Check that the storage is writable, because a storage failure can cause an `internal` error in a trainer.

    Raises:
        Unavailable: the storage is not writable.
    """
    try:
        storage.check_writable()
    except NotReady as error:
        raise Unavailable(error.detail) from error
