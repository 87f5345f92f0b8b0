"""What must be here before a trainer can start: the dataset, the newest undamaged snapshot, and room for more."""

from pathlib import Path

import structlog

from core.db.repos.checkpoints import CheckpointRepo
from core.db.tables import CheckpointRow, DatasetVersionRow, JobRow
from core.errors import Corrupt, StorageFull
from core.spec import JobSpec
from core.storage import Storage
from worker.protocol import Start
from worker.recorder import RESERVE_BYTES, Recorder

log = structlog.get_logger()


class Preparation:
    """Of one attempt. It fetches and looks; all it writes are warnings, and it deletes what the job can do without."""

    def __init__(self, storage: Storage, recorder: Recorder, job: JobRow, version: DatasetVersionRow) -> None:
        self._storage, self._recorder, self._job, self._version = storage, recorder, job, version

    def start(self, lease_s: float) -> Start:
        """What the trainer is told first; its work folder is the caller's to delete.

        Raises:
            Corrupt: the dataset, or every checkpoint, is damaged.
            StorageFull: there is no room here.
            pydantic.ValidationError: the spec is of another version.
        """
        spec = JobSpec.model_validate(self._job.spec)
        checkpoints = self._recorder.write(lambda session: CheckpointRepo(session).resumable(self._job.id))
        self._need_room(max((row.size_bytes for row in checkpoints), default=0))
        meta, key = self._version.meta or {}, self._version.packed_key or ""
        dataset_dir = self._storage.fetch(key, {name: file["sha256"] for name, file in meta.get("files", {}).items()})
        resume_dir = self._newest(checkpoints)
        return Start(
            job_id=self._job.id,
            attempt=self._job.attempt,
            spec=spec,
            dataset_dir=str(dataset_dir),
            dataset=lineage(self._version),
            work_dir=str(self._storage.scratch()),
            resume_dir=str(resume_dir) if resume_dir else None,
            lease_s=lease_s,
        )

    def _need_room(self, snapshot_bytes: int) -> None:
        needed = snapshot_bytes + RESERVE_BYTES
        if self._storage.free_bytes() < needed and self._recorder.make_room():
            log.warning("attempt.made_room", needed_bytes=needed)
        free = self._storage.free_bytes()
        if free < needed:
            raise StorageFull("The worker has too little space to begin.", free_bytes=free, needed_bytes=needed)

    def _newest(self, checkpoints: list[CheckpointRow]) -> Path | None:
        damage: Corrupt | None = None
        for row in checkpoints:
            try:
                return self._storage.fetch(row.key, {name: file["sha256"] for name, file in row.files.items()})
            except Corrupt as error:
                damage = error
                self._recorder.warn(f"Checkpoint {row.number} is damaged and was passed over: {error.detail}")
        if damage is not None:
            raise damage
        return None


def lineage(version: DatasetVersionRow) -> dict[str, str | int | None]:
    """A dataset as its models name it."""
    return {"name": version.name, "version": version.version, "content_hash": version.content_hash}
