"""What a client can do with datasets: upload, look, use in a job, delete."""

import hashlib
import json
import re
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy.orm import Session

from app.services.validation.training import PinnedDataset, options_of
from core.datasets import builtin
from core.datasets.archives.limits import Limits
from core.datasets.definition import BuiltIn, DatasetFacts
from core.datasets.image_preview import PREVIEW
from core.datasets.ingest.table import check_upload
from core.datasets.packed import PackedMeta
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import on_commit
from core.db.tables import DatasetVersionRow
from core.errors import Conflict, DatasetNotReady, InUse, InvalidSpec, NotFound, Unavailable
from core.jobs import DatasetState
from core.spec import DatasetSpec
from core.spec.base import NAME_PATTERN
from core.spec.error_pointers import unknown
from core.storage import Storage

log = structlog.get_logger(__name__)

NAME = "/dataset/name"
VERSION = "/dataset/version"


class PinnedVersion(NamedTuple):
    """A dataset for a job, and the row that the job will refer to."""

    dataset: PinnedDataset
    version_id: str


class DatasetView(NamedTuple):
    """A dataset and its versions, newest first; a built-in one may have none yet."""

    name: str
    versions: list[DatasetVersionRow]


class DatasetService:
    """Every method is one step of the caller's transaction.

    Args:
        datasets_dir: where the files of the built-in datasets lie.
        limits: what an upload may hold.
        kick: wakes the dispatcher; called after the commit.
    """

    def __init__(
        self,
        session: Session,
        storage: Storage,
        datasets_dir: Path,
        *,
        wake: Callable[[], None],
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._session = session
        self._storage = storage
        self._datasets_dir = datasets_dir
        self._wake = wake
        self._versions = DatasetRepo(session)

    # ---- for jobs

    def resolve_version(self, spec: DatasetSpec) -> PinnedDataset:
        """The dataset as a job would find it; nothing is stored.

        Raises:
            InvalidSpec: no such dataset or version, wrong options, or files of a built-in one are missing.
            DatasetNotReady: an uploaded dataset that is still being imported, or failed.
        """
        if spec.name not in builtin.names():
            uploaded = self._find_uploaded(spec)
            if uploaded.state is not DatasetState.READY:
                raise build_not_ready_error(uploaded)
            return PinnedDataset(uploaded.version, {}, read_dataset_facts(uploaded))
        entry, options, row = self._find_built_in(spec)
        if row is not None and row.state is DatasetState.READY:
            return PinnedDataset(row.version, options, read_dataset_facts(row))
        facts = self._read_built_in_facts(entry, options)
        return PinnedDataset(row.version if row else self._versions.next_version(spec.name), options, facts)

    def pin_version(self, spec: DatasetSpec) -> PinnedVersion:
        """As `look`; the import of a built-in dataset begins unless it was made before. A job may wait for it."""
        pinned = self.resolve_version(spec)
        if spec.name not in builtin.names():
            return PinnedVersion(pinned, self._versions.get_version(spec.name, pinned.version).id)
        row = self.ensure_builtin(spec.name, pinned.options)
        return PinnedVersion(pinned._replace(version=row.version), row.id)

    def find_pending_import(self, spec: DatasetSpec) -> DatasetVersionRow | None:
        """The version that a job for `spec` must wait for before it can be checked: an upload under import."""
        if spec.name in builtin.names():
            return None
        row = self._find_uploaded(spec)
        return row if row.state is DatasetState.IMPORTING else None

    def ensure_builtin(self, name: str, options: Mapping[str, Any]) -> DatasetVersionRow:
        """The one version of a built-in dataset with these (whole) options; made, or made again, if need be."""
        source_key = hash_options(options)
        existing = self._versions.find_source(name, source_key)
        row = existing or self._versions.add(name, {"kind": "builtin", "options": dict(options)}, source_key=source_key)
        if existing is None or (existing.state is DatasetState.FAILED and self._versions.retry(existing.id)):
            self._queue_import(row.id)
        return self._versions.get(row.id)

    # ---- for people

    def list_datasets(self, *, after: str, limit: int) -> tuple[list[DatasetView], str | None]:
        """Datasets by name, the built-in ones among them, behind `after`; and the last name if there are more.

        Raises:
            InvalidSpec: `after` is no name.
        """
        if after and not re.fullmatch(NAME_PATTERN, after):
            raise InvalidSpec("The cursor is not one that a list gave.", errors=[("?cursor", "unknown cursor")])
        stored = self._versions.names(after=after, limit=limit + 1)
        names = sorted({*stored, *(name for name in builtin.names() if name > after)})
        shown = names[:limit]
        rows = self._versions.versions(shown)
        views = [DatasetView(name, [row for row in rows if row.name == name]) for name in shown]
        return views, shown[-1] if len(names) > limit else None

    def get_dataset(self, name: str) -> DatasetView:
        versions = self._versions.versions([name])
        if not versions and name not in builtin.names():
            raise NotFound(f"There is no dataset {name!r}.")
        return DatasetView(name, versions)

    def get_version(self, name: str, version: int) -> DatasetVersionRow:
        return self._versions.get_version(name, version)

    def get_report(self, name: str, version: int) -> dict[str, Any]:
        """What the import found.

        Raises:
            DatasetNotReady: it has not ended yet, or failed before it could find anything.
        """
        row = self._versions.get_version(name, version)
        if row.report is None:
            raise build_not_ready_error(row)
        return {"name": name, "version": version, "state": row.state, "content_hash": row.content_hash} | row.report

    def fetch_preview(self, name: str, version: int) -> Path:
        """The contact sheet, a PNG. Raises Corrupt where it is not what was stored."""
        row = self._versions.get_version(name, version)
        if row.state is not DatasetState.READY:
            raise build_not_ready_error(row)
        files = (row.meta or {})["files"]
        return self._storage.fetch(row.packed_key or "", {PREVIEW: files[PREVIEW]["sha256"]}) / PREVIEW

    def accept_upload(self, name: str, archive: Path, options: Mapping[str, Any]) -> DatasetVersionRow:
        """Store an upload and let it be imported; the file is consumed. Options are those of pictures or of a table.

        Raises:
            InvalidArchive: a quick look shows that it is none, or holds an unsafe entry.
            Conflict: the name is a built-in dataset's.
        """
        refuse_built_in(name)
        kind, options = check_upload(archive, self._limits, options)
        version_id = uuid.uuid4().hex
        key = f"uploads/{version_id}"
        source = {"kind": "upload", "key": key, "options": dict(options), "archive": kind}
        self._storage.publish_file(archive, key)  # first: a file without a row is swept, a row without a file fails
        try:
            row = self._versions.add(name, source, version_id=version_id)
            self._queue_import(row.id)
        except BaseException:
            self._storage.delete(key)
            raise
        return row

    def delete_version(self, name: str, version: int) -> None:
        """Delete a version with its files. Models trained on it stay: they carry what predictions need.

        Raises:
            InUse: a job, finished or not, refers to it: it could be extended, resumed or looked into.
        """
        row = self._versions.get_version(name, version)
        jobs = [job.id for job in JobRepo(self._session).dependents(row.id)]
        if jobs:
            raise InUse(
                f"Jobs were made with {name} version {version}: delete them first.", dependents=jobs, kind="job"
            )
        keys = [key for key in (row.packed_key, row.source.get("key")) if key]
        self._versions.delete(row)
        on_commit(self._session, lambda: self._delete_files(keys))

    # ---- inside

    def _find_uploaded(self, spec: DatasetSpec) -> DatasetVersionRow:
        newest = self._versions.find_newest(spec.name)
        if newest is None:
            known = sorted({*builtin.names(), *self._versions.names()})
            raise InvalidSpec(
                f"There is no dataset {spec.name!r}.", errors=[(NAME, unknown("dataset", spec.name, known))]
            )
        if spec.options:
            wrong = [(f"/dataset/{name}", "uploaded datasets take no options") for name in spec.options]
            raise InvalidSpec(f"{wrong[0][0]}: {wrong[0][1]}", errors=wrong)
        if spec.version == "latest":
            row = self._versions.find_newest(spec.name, DatasetState.READY) or newest
        else:
            row = self._versions.find_version(spec.name, spec.version) or self._raise_unknown_version(spec)
        if row.state is DatasetState.FAILED:
            raise build_not_ready_error(row)
        return row

    def _find_built_in(self, spec: DatasetSpec) -> tuple[BuiltIn, dict[str, Any], DatasetVersionRow | None]:
        entry = builtin.get(spec.name)
        if spec.version == "latest":
            options = options_of(entry.options, spec.options, "/dataset")
            return entry, options, self._versions.find_source(spec.name, hash_options(options))
        row = self._versions.find_version(spec.name, spec.version) or self._raise_unknown_version(spec)
        made_of: dict[str, Any] = row.source["options"]
        options = options_of(entry.options, made_of | spec.options, "/dataset")
        if hash_options(options) != row.source_key:
            detail = f"version {spec.version} has other options; leave the version out to get one with these"
            raise InvalidSpec(f"{VERSION}: {detail}", errors=[(VERSION, detail)])
        return entry, options, row

    def _raise_unknown_version(self, spec: DatasetSpec) -> DatasetVersionRow:
        known = [row.version for row in self._versions.versions([spec.name])]
        detail = f"there is no version {spec.version}; known: {', '.join(map(str, known[:20])) or 'none'}"
        raise InvalidSpec(f"{VERSION}: {detail}", errors=[(VERSION, detail)])

    def _read_built_in_facts(self, entry: BuiltIn, options: Mapping[str, Any]) -> DatasetFacts:
        if missing := entry.missing_files(self._datasets_dir, options):
            detail = f"files are missing in {self._datasets_dir}: {', '.join(missing)}. {entry.help_text}"
            raise InvalidSpec(f"{entry.name}: {detail}", errors=[(NAME, detail)], missing=missing)
        return entry.facts(options, self._datasets_dir)

    def _queue_import(self, version_id: str) -> None:
        OutboxRepo(self._session).add("import", version_id)
        on_commit(self._session, self._wake)

    def _delete_files(self, keys: list[str]) -> None:
        for key in keys:
            try:
                self._storage.delete(key)
            except (OSError, Unavailable) as error:  # the row is gone already; the sweep takes what is left
                log.warning("dataset.files_left", key=key, error=str(error))


def read_dataset_facts(row: DatasetVersionRow) -> DatasetFacts:
    """What a ready version is."""
    meta = PackedMeta.model_validate(row.meta)
    return DatasetFacts(meta.task, meta.classes, meta.num_outputs, meta.image_shape, meta.splits, meta.table)


def hash_options(options: Mapping[str, Any]) -> str:
    """Equal for equal options, every default filled in."""
    return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()


def refuse_built_in(name: str) -> None:
    """Raises Conflict where a name cannot be uploaded to."""
    if name in builtin.names():
        raise Conflict(f"{name!r} is a built-in dataset: upload under another name.", built_in=builtin.names())


def build_not_ready_error(row: DatasetVersionRow) -> DatasetNotReady:
    """What a caller is told who wants more of a version than it has."""
    what = f"{row.name} version {row.version}"
    if row.state is DatasetState.FAILED:
        failure = row.failure or {}
        return DatasetNotReady(
            f"The import of {what} failed: {failure.get('message', '')}", state=row.state, failure=failure
        )
    return DatasetNotReady(f"{what} is still being imported.", state=row.state)
