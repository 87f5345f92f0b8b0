"""Publishes the files of an attempt to the storage, then adds rows for them to the database."""

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.session import on_commit
from core.errors import Conflict, StorageFull, Unavailable
from core.events import EventType
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from worker.control.fenced_transactions import FencedTransactions
from worker.control.job_log import describe_checkpoint
from worker.control.progress_recorder import ProgressRecorder, build_log_entry
from worker.protocol import ArtifactWritten, CheckpointWritten, FileDigest

RESERVED_BYTES = 32 * 2**20  # disk space to leave free for logs, the database and other processes
NUM_NEWEST = 2  # in case the files of the newest checkpoint are damaged
NUM_NEWEST_OF_TRIAL = 1  # a sweep has many trials; one whose only checkpoint is damaged counts as failed


class FileRecorder:
    """Stores checkpoints and artifacts. Every method raises LostLease if the attempt has lost its lease.

    Args:
        num_newest: the number of newest checkpoints that are retained.
    """

    def __init__(
        self,
        transactions: FencedTransactions,
        storage: Storage,
        progress: ProgressRecorder,
        num_newest: int = NUM_NEWEST,
    ) -> None:
        self._transactions = transactions
        self._storage = storage
        self._progress = progress
        self._num_newest = num_newest

    @property
    def attempt_key(self) -> str:
        """Return the prefix of the storage keys of all files of this attempt."""
        return f"jobs/{self._transactions.job_id}/t{self._transactions.token}"

    def store_checkpoint(self, checkpoint: CheckpointWritten) -> None:
        """Publish a snapshot, add its row to the database and delete the checkpoints that are no longer needed.

        Raises:
            StorageFull: there is not enough space, even after deleting older checkpoints.
        """
        job_id, token = self._transactions.job_id, self._transactions.token
        number = self._transactions.run(lambda session: CheckpointRepo(session).get_next_number(job_id))
        key = f"{self.attempt_key}/checkpoints/{number}"
        try:
            self.publish_folder(checkpoint.dir, key)
        except Conflict:  # a database crash lost the row of a checkpoint with this key, so use a different key
            key = f"{key}-{uuid.uuid4().hex[:8]}"
            self.publish_folder(checkpoint.dir, key)
        payload = {
            "number": number,
            "epoch": checkpoint.epoch,
            "step": checkpoint.step,
            "tags": list(checkpoint.tags),
        }
        size_bytes = sum(file.size_bytes for file in checkpoint.files.values())
        # Assume that the next checkpoint is as large as this one.
        has_room = self._storage.get_free_bytes() >= size_bytes + RESERVED_BYTES
        retained = checkpoint.retained_epochs

        def write(session: Session) -> None:
            CheckpointRepo(session).add(
                job_id,
                token,
                number=number,
                epoch=checkpoint.epoch,
                step=checkpoint.step,
                metrics=checkpoint.metrics,
                tags=checkpoint.tags,
                key=key,
                files=dump_digests(checkpoint.files),
                retained_epochs=None if retained is None else frozenset(retained),
            )
            line = describe_checkpoint(number, checkpoint.epoch, checkpoint.step, checkpoint.tags, size_bytes)
            EventRepo(session).append(job_id, [(EventType.CHECKPOINT, payload), build_log_entry("info", line)])
            self._prune_checkpoints(session, num_newest=self._num_newest if has_room else 1)

        self._transactions.run(write)

    def store_artifact(self, artifact: ArtifactWritten) -> None:
        """Publish an artifact. An earlier artifact with the same name is replaced.

        Raises:
            StorageFull, Unavailable: the artifact cannot be stored and is not optional.
        """
        job_id, token = self._transactions.job_id, self._transactions.token
        key = f"{self.attempt_key}/artifacts/{uuid.uuid4().hex}"
        try:
            self._storage.publish(Path(artifact.dir), key)
        except (StorageFull, Unavailable) as error:
            if not artifact.is_optional:
                raise
            shutil.rmtree(artifact.dir, ignore_errors=True)
            self._progress.add_warning(f"The artifact {artifact.name!r} could not be stored: {error.detail}")
            return
        columns = artifact.model_dump(include={"media_type", "sha256", "size_bytes"})

        def write(session: Session) -> None:
            replaced_key = ArtifactRepo(session).put(job_id, token, artifact.name, key=key, **columns)
            if replaced_key is not None:
                on_commit(session, lambda: delete_stored_files(self._storage, [replaced_key]))

        self._transactions.run(write)

    def publish_folder(self, folder: str, key: str) -> None:
        """Publish a folder. If the storage is full, delete older checkpoints and retry once.

        Raises:
            StorageFull: there is not enough space, even after deleting older checkpoints.
            Conflict: the storage already has files under this key.
        """
        try:
            self._storage.publish(Path(folder), key)
        except StorageFull:
            if not self.free_space():
                raise
            self._storage.publish(Path(folder), key)

    def free_space(self) -> bool:
        """Delete the checkpoints that are not needed. Return True if at least one was deleted.

        The newest checkpoint, the best checkpoint and the checkpoints that `model_checkpoint` retains are not deleted.
        A checkpoint from which another job starts is not deleted either.
        """
        self._storage.delete_abandoned_scratch()
        return self._transactions.run(lambda session: self._prune_checkpoints(session, num_newest=1)) > 0

    def _prune_checkpoints(self, session: Session, num_newest: int) -> int:
        repo, job_id = CheckpointRepo(session), self._transactions.job_id
        prunable = repo.find_prunable(job_id, num_newest)
        for row in prunable:
            repo.delete(job_id, row.number)
        keys = [row.key for row in prunable]
        on_commit(session, lambda: delete_stored_files(self._storage, keys))
        return len(prunable)


def dump_digests(files: Mapping[str, FileDigest]) -> dict[str, dict[str, Any]]:
    """Convert digests to the value of a `files` column: file names mapped to {sha256, size_bytes}."""
    return {name: digest.model_dump() for name, digest in files.items()}
