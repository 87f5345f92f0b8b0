"""Deletes datasets and dataset versions."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from app.services.in_use import build_in_use_error
from core.datasets import builtin
from core.db.repos.datasets import DatasetRepo
from core.db.repos.descriptions import DescriptionRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.sweep_lists import SweepListRepo
from core.db.session import on_commit
from core.db.tables import DatasetVersionRow
from core.errors import NotFound
from core.jobs import ResourceKind
from core.storage import Storage
from core.storage.deletion import delete_stored_files


class DatasetDeletion:
    """Deletes datasets with their files. Every method runs in the caller's transaction."""

    def __init__(self, session: Session, storage: Storage) -> None:
        self._session = session
        self._storage = storage
        self._versions = DatasetRepo(session)

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version and its files. Models that were trained on it are kept and can still predict.

        Raises:
            NotFound: the version does not exist.
            ResourceInUse: a job or a sweep uses the version, or a version that edits it is being imported.
        """
        row = self._versions.lock(name, version)
        self._refuse_dependents(f"{name} version {version}", [row])
        self._delete_rows([row])

    def delete_dataset(self, name: str) -> None:
        """Delete all versions of a dataset, with its description. A built-in dataset can be imported again.

        Raises:
            NotFound: the dataset does not exist.
            ResourceInUse: a job or a sweep uses a version, or a version that edits one of them is being imported.
        """
        rows = self._versions.lock_all(name)
        if not rows and name not in builtin.list_names():
            raise NotFound(f"Dataset {name!r} does not exist.")
        self._refuse_dependents(f"dataset {name}", rows)
        self._delete_rows(rows)
        DescriptionRepo(self._session, ResourceKind.DATASET).delete(name)

    def _refuse_dependents(self, resource: str, rows: Sequence[DatasetVersionRow]) -> None:
        jobs = [job.id for row in rows for job in JobRepo(self._session).list_dependents(row.id)]
        if jobs:
            raise build_in_use_error(f"Jobs use {resource}; delete the jobs first.", jobs, "job")
        sweeps = [sweep_id for row in rows for sweep_id in SweepListRepo(self._session).list_dependents(row.id)]
        if sweeps:
            raise build_in_use_error(f"Sweeps use {resource}; delete the sweeps first.", sweeps, "sweep")
        deleted = {row.id for row in rows}
        edits = [
            f"{edit.name}/{edit.version}"
            for row in rows
            for edit in self._versions.list_edits(row.id)
            if edit.id not in deleted
        ]
        if edits:
            detail = f"{resource} is being edited; wait until the new versions have been imported."
            raise build_in_use_error(detail, edits, "dataset version")

    def _delete_rows(self, rows: Sequence[DatasetVersionRow]) -> None:
        keys = [key for row in rows for key in (row.packed_key, row.source.get("key")) if key]
        for row in rows:
            self._versions.delete(row)
        for name in {row.name for row in rows}.difference(builtin.list_names()):
            if not self._versions.list_versions([name]):
                DescriptionRepo(self._session, ResourceKind.DATASET).delete(name)
        on_commit(self._session, lambda: delete_stored_files(self._storage, keys))
