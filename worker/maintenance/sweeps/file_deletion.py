"""Deletes the checkpoints and the unregistered networks of trials that do not need them."""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.sweep_jobs import SweepJobRepo
from core.db.session import on_commit
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from core.sweeps.retained_files import UnneededFiles

MAX_CLEANED = 100
"""Jobs whose files are deleted in one transaction. The end of the sweep deletes those of the others."""


class FileDeletion(NamedTuple):
    """The jobs whose checkpoints, and whose unregistered networks, are deleted."""

    checkpoints: Sequence[str]
    bundles: Sequence[str]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to delete."""
        return not self.checkpoints and not self.bundles

    def apply(self, session: Session, storage: Storage) -> None:
        """Delete the rows, and the files after the commit."""
        repo = SweepJobRepo(session)
        keys = repo.delete_checkpoints(self.checkpoints) + repo.delete_bundles(self.bundles)
        on_commit(session, lambda: delete_stored_files(storage, keys))


def find_deletion(session: Session, sweep_id: str, unneeded: UnneededFiles) -> FileDeletion:
    """Return the jobs of a sweep that have unneeded files."""
    repo = SweepJobRepo(session)
    return FileDeletion(
        repo.list_jobs_with_checkpoints(sweep_id, unneeded.checkpoints, MAX_CLEANED),
        repo.list_jobs_with_bundle(sweep_id, unneeded.bundles, MAX_CLEANED),
    )
