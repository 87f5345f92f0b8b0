"""Lists, uploads and deletes datasets, and selects the dataset versions that jobs use."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from sqlalchemy.orm import Session

from app.services.dataset_deletion import DatasetDeletion
from app.services.dataset_selection import NAME, DatasetSelection, read_dataset_info
from app.services.resize_recipes import expand_recipe
from app.services.validation.report import reject, reject_all
from app.services.validation.resolve import parse_dataset_options
from app.serving.backend import ArchitectureEntry
from core.datasets import builtin
from core.datasets.archives.limits import UploadLimits
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.ingest.upload_check import check_upload
from core.db.repos.datasets import DatasetRepo
from core.db.repos.descriptions import Description, DescriptionRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import on_commit, release_connection
from core.db.tables import DatasetVersionRow
from core.errors import Conflict, DatasetNotReady, InvalidSpec, NotFound
from core.jobs import DatasetState, ResourceKind
from core.spec import DatasetSpec
from core.spec.base import NAME_PATTERN
from core.spec.error_pointers import format_unknown_name
from core.spec.reserved_names import find_name_error
from core.storage import Storage

VERSION = "/dataset/version"


class DatasetView(NamedTuple):
    """A dataset and its versions, newest first. A built-in dataset has no version before its first import.

    Attributes:
        descriptions: the descriptions of the dataset, under `WHOLE`, and of its versions.
    """

    name: str
    versions: list[DatasetVersionRow]
    descriptions: Mapping[int, Description]


class DatasetService:
    """Manages datasets. Every method runs in the caller's transaction.

    Args:
        limits: limits of uploaded files; default: `UploadLimits()`.
        wake: function that wakes the outbox relay; it is called after the commit.
        list_architectures: function that returns the architectures by name; default: there are none.
    """

    def __init__(
        self,
        session: Session,
        storage: Storage,
        *,
        wake: Callable[[], None],
        limits: UploadLimits | None = None,
        list_architectures: Callable[[], Mapping[str, ArchitectureEntry]] = dict,
    ) -> None:
        self._limits = limits or UploadLimits()
        self._list_architectures = list_architectures
        self._session = session
        self._storage = storage
        self._wake = wake
        self._versions = DatasetRepo(session)
        self._descriptions = DescriptionRepo(session, ResourceKind.DATASET)

    def select_version(self, spec: DatasetSpec) -> DatasetSelection:
        """Return the dataset version that a job with this spec uses, without storing anything.

        Raises:
            InvalidSpec: the dataset or version does not exist, or an option is invalid.
            DatasetNotReady: the import of an uploaded dataset has not finished, or failed.
        """
        if spec.name not in builtin.list_names():
            uploaded = self._find_upload(spec)
            if uploaded.state is not DatasetState.READY:
                raise build_not_ready_error(uploaded)
            return DatasetSelection(spec.name, uploaded.version, {}, read_dataset_info(uploaded))
        options, row = self._find_built_in(spec)
        version = row.version if row else self._versions.get_next_version(spec.name)
        is_ready = row is not None and row.state is DatasetState.READY
        return DatasetSelection(spec.name, version, options, read_dataset_info(row) if row and is_ready else None)

    def pin_version(self, selection: DatasetSelection) -> DatasetVersionRow:
        """Return the row of a selected version. Start the import of a built-in dataset if it is new or has failed.

        Raises:
            NotFound: the uploaded version was deleted after it was selected.
        """
        if selection.name in builtin.list_names():
            return self.ensure_builtin(selection.name, selection.options)
        return self._versions.lock(selection.name, selection.version, is_shared=True)

    def find_pending_import(self, spec: DatasetSpec) -> DatasetVersionRow | None:
        """Return the uploaded version if its import is running, else None. Jobs are validated after this import."""
        if spec.name in builtin.list_names():
            return None
        row = self._find_upload(spec)
        return row if row.state is DatasetState.IMPORTING else None

    def ensure_builtin(self, name: str, options: Mapping[str, Any]) -> DatasetVersionRow:
        """Return the version of a built-in dataset with these options. If it is new or has failed, start its import."""
        source_key = hash_options(options)
        existing = self._versions.find_by_source(name, source_key)
        row = existing or self._versions.add(name, {"kind": "builtin", "options": dict(options)}, source_key=source_key)
        if existing is None or (existing.state is DatasetState.FAILED and self._versions.retry(existing.id)):
            self._queue_import(row.id)
        return self._versions.get(row.id)

    def list_datasets(
        self, *, after: str, limit: int, tags: Sequence[str] = ()
    ) -> tuple[list[DatasetView], str | None]:
        """Return a page of all datasets in alphabetical order, and the value of `after` for the next page.

        `after` is the last name of the previous page, or an empty string for the first page. With `tags`, only the
        datasets that have all of them, themselves or at one of their versions.

        Raises:
            InvalidSpec: `after` is not a valid name.
        """
        if after and not re.fullmatch(NAME_PATTERN, after):
            raise InvalidSpec("The cursor is invalid.", errors=[("?cursor", "must be the next_cursor of a page")])
        stored = self._versions.list_names(after=after, limit=limit + 1, tags=tags)
        built_in = self._descriptions.filter_tagged(builtin.list_names(), tags)
        names = sorted({*stored, *(name for name in built_in if name > after)})
        page_names = names[:limit]
        return self._list_views(page_names), page_names[-1] if len(names) > limit else None

    def get_dataset(self, name: str) -> DatasetView:
        """Return a dataset with its versions. Raises NotFound."""
        (view,) = self._list_views([name])
        if not view.versions and name not in builtin.list_names():
            raise NotFound(f"Dataset {name!r} does not exist.")
        return view

    def get_version(self, name: str, version: int) -> DatasetVersionRow:
        """Return a version of a dataset. Raises NotFound."""
        return self._versions.get_version(name, version)

    def get_version_description(self, name: str, version: int) -> Description:
        """Return the description of a version."""
        return self._descriptions.get(name, version)

    def get_report(self, name: str, version: int) -> dict[str, Any]:
        """Return the import report of a version.

        Raises:
            DatasetNotReady: the import has not finished, or failed before it wrote a report.
        """
        row = self._versions.get_version(name, version)
        if row.report is None:
            raise build_not_ready_error(row)
        return {"name": name, "version": version, "state": row.state, "content_hash": row.content_hash} | row.report

    def fetch_preview(self, name: str, version: int) -> Path:
        """Return the path of the preview image, a PNG.

        Raises:
            DatasetNotReady: the import has not finished, or failed.
            CorruptFile: the checksum of the stored file does not match.
        """
        row = self._versions.get_version(name, version)
        if row.state is not DatasetState.READY:
            raise build_not_ready_error(row)
        files = (row.meta or {})["files"]
        release_connection(self._session)
        return self._storage.fetch(row.packed_key or "", {PREVIEW_FILE: files[PREVIEW_FILE]["sha256"]}) / PREVIEW_FILE

    def accept_upload(
        self,
        name: str,
        archive: Path,
        options: Mapping[str, Any],
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> DatasetVersionRow:
        """Move an uploaded file into the storage and queue its import. `options` configure the import.

        Raises:
            InspectionCancelled: `is_cancelled` returned True while the file was checked.
            InvalidArchive: the file is not an archive or table, or contains an unsafe entry.
            InvalidSpec: the option `recipe` does not name an architecture with a recipe.
            Unavailable: the recipe is not known yet, because the inference process is starting.
            Conflict: a built-in dataset has this name.
        """
        check_new_name(name)
        options = expand_recipe(options, self._list_architectures)
        kind, options = check_upload(archive, self._limits, options, is_cancelled=is_cancelled)
        version_id = uuid.uuid4().hex
        key = f"uploads/{version_id}"
        source = {"kind": "upload", "key": key, "options": dict(options), "archive": kind}
        # Store the file before the row: maintenance deletes a file without a row.
        self._storage.publish_file(archive, key)
        try:
            row = self._versions.add(name, source, version_id=version_id)
            self._queue_import(row.id)
        except BaseException:
            self._session.rollback()  # no lock is held while the file is deleted
            self._storage.delete(key)
            raise
        return row

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version and its files. Models that were trained on it are kept and can still predict.

        Raises:
            ResourceInUse: a job uses the version, or a version that edits it is being imported.
        """
        DatasetDeletion(self._session, self._storage).delete_version(name, version)

    def delete_dataset(self, name: str) -> None:
        """Delete all versions of a dataset and their files. Raises NotFound, or ResourceInUse as `delete_version`."""
        DatasetDeletion(self._session, self._storage).delete_dataset(name)

    def _list_views(self, names: list[str]) -> list[DatasetView]:
        rows, descriptions = self._versions.list_versions(names), self._descriptions.list_descriptions(names)
        return [
            DatasetView(
                name,
                [row for row in rows if row.name == name],
                {version: description for (owner, version), description in descriptions.items() if owner == name},
            )
            for name in names
        ]

    def _find_upload(self, spec: DatasetSpec) -> DatasetVersionRow:
        newest = self._versions.find_newest(spec.name)
        if newest is None:
            existing = sorted({*builtin.list_names(), *self._versions.list_names()})
            reject(NAME, format_unknown_name("dataset", spec.name, existing))
        if spec.options:
            reject_all(
                [(f"/dataset/{name}", "is not an option: uploaded datasets have no options") for name in spec.options]
            )
        if spec.version == "latest":
            row = self._versions.find_newest(spec.name, DatasetState.READY) or newest
        else:
            row = self._versions.find_version(spec.name, spec.version) or self._reject_version(spec)
        if row.state is DatasetState.FAILED:
            raise build_not_ready_error(row)
        return row

    def _find_built_in(self, spec: DatasetSpec) -> tuple[dict[str, Any], DatasetVersionRow | None]:
        entry = builtin.get_dataset(spec.name)
        if spec.version == "latest":
            options = parse_dataset_options(entry.options, spec.options, "/dataset")
            return options, self._versions.find_by_source(spec.name, hash_options(options))
        row = self._versions.find_version(spec.name, spec.version) or self._reject_version(spec)
        stored_options: dict[str, Any] = row.source["options"]
        options = parse_dataset_options(entry.options, stored_options | spec.options, "/dataset")
        if hash_options(options) != row.source_key:
            reject(VERSION, f"version {spec.version} has other options; omit the version to use these options")
        return options, row

    def _reject_version(self, spec: DatasetSpec) -> NoReturn:
        existing = [str(row.version) for row in self._versions.list_versions([spec.name])]
        reject(VERSION, f"version {spec.version} does not exist; existing: {', '.join(existing[:20]) or 'none'}")

    def _queue_import(self, version_id: str) -> None:
        OutboxRepo(self._session).add("import", version_id)
        on_commit(self._session, self._wake)


def hash_options(options: Mapping[str, Any]) -> str:
    """Return a hash of dataset options. The options must include all defaults."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def check_new_name(name: str, pointer: str = "{name}") -> None:
    """Check the name of a dataset that a client sends. `pointer` is the location of the name in the request.

    Raises:
        Conflict: a built-in dataset has this name. Built-in datasets cannot be replaced by uploads.
        InvalidSpec: the name is reserved.
    """
    if reason := find_name_error(name):
        reject(pointer, reason)
    if name in (built_in := builtin.list_names()):
        raise Conflict(f"{name!r} is a built-in dataset; upload the dataset under another name.", built_in=built_in)


def build_not_ready_error(row: DatasetVersionRow) -> DatasetNotReady:
    """Return the error for a version whose import is still running or has failed."""
    version = f"{row.name} version {row.version}"
    if row.state is DatasetState.FAILED:
        failure = row.failure or {}
        return DatasetNotReady(
            f"The import of {version} failed: {failure.get('message', '')}", state=row.state, failure=failure
        )
    return DatasetNotReady(f"{version} is still being imported.", state=row.state)
