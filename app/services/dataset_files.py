"""Exports and compares dataset versions from their packed files."""

import math
from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from app.services.datasets import build_not_ready_error
from app.services.validation.report import reject
from core.datasets.archives.budget import InspectionCancelled
from core.datasets.comparison import VersionComparison, compare_versions
from core.datasets.export.archive import export_dataset
from core.datasets.image_preview import PREVIEW_FILE
from core.datasets.packed import PackedDataset, PackedMeta
from core.db.repos.datasets import DatasetRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.jobs import DatasetState
from core.storage import Storage

MAX_COMPARED_SAMPLES = 2_000_000  # of both versions: their names are in memory
MAX_COMPARED_BYTES = 4 * 2**30  # of both versions; hashing them takes about ten seconds
CompareBy = Literal["content", "names"]


class VersionReference(NamedTuple):
    """The name of a dataset and the number of a version."""

    name: str
    version: int


class ComparedVersions(NamedTuple):
    """A comparison of two versions. `comparison` is None if their content hashes are equal."""

    row: DatasetVersionRow
    base: DatasetVersionRow
    comparison: VersionComparison | None


class DatasetFileService:
    """Reads the packed files of dataset versions. No method holds a database connection while it reads files."""

    def __init__(self, sessions: SessionFactory, storage: Storage) -> None:
        self._sessions = sessions
        self._storage = storage

    def export_version(self, name: str, version: int) -> Iterator[bytes]:
        """Return an iterator of the chunks of a zip archive with the samples of a version.

        Raises:
            NotFound: the version does not exist.
            DatasetNotReady: the import has not finished, or failed.
            Conflict: the images have other than 1 or 3 channels.
            CorruptFile: the checksum of a stored file does not match.
        """
        row = self._get_ready(VersionReference(name, version))
        return export_dataset(self._fetch_packed(row), {"name": name, "version": version})

    def compare_versions(
        self,
        reference: VersionReference,
        base_reference: VersionReference,
        by: CompareBy,
        *,
        is_cancelled: Callable[[], bool] = lambda: False,
    ) -> ComparedVersions:
        """Compare a version with a base version.

        Raises:
            NotFound: a version does not exist.
            DatasetNotReady: an import has not finished, or failed.
            InvalidSpec: the versions have too many samples, or too many bytes to compare their content.
            InspectionCancelled: `is_cancelled` returned True.
        """
        row, base = self._get_ready(reference), self._get_ready(base_reference)
        if row.content_hash == base.content_hash:
            return ComparedVersions(row, base, None)
        _check_sizes([PackedMeta.model_validate(each.meta) for each in (row, base)], by)

        def check_cancelled() -> None:
            if is_cancelled():
                raise InspectionCancelled

        packed = self._fetch_packed(row), self._fetch_packed(base)
        comparison = compare_versions(*packed, by_content=by == "content", on_chunk=check_cancelled)
        return ComparedVersions(row, base, comparison)

    def _get_ready(self, reference: VersionReference) -> DatasetVersionRow:
        with transaction(self._sessions, read_only=True) as session:
            row = DatasetRepo(session).get_version(*reference)
        if row.state is not DatasetState.READY:
            raise build_not_ready_error(row)
        return row

    def _fetch_packed(self, row: DatasetVersionRow) -> PackedDataset:
        files = (row.meta or {})["files"]
        hashes = {name: file["sha256"] for name, file in files.items() if name != PREVIEW_FILE}
        return PackedDataset.open(self._storage.fetch(row.packed_key or "", hashes))


def _check_sizes(metas: list[PackedMeta], by: CompareBy) -> None:
    num_samples = sum(sum(meta.splits.values()) for meta in metas)
    if num_samples > MAX_COMPARED_SAMPLES:
        reject("?base", f"the versions have {num_samples} samples; at most {MAX_COMPARED_SAMPLES} are compared")
    num_bytes = sum(
        sum(meta.splits.values()) * math.prod(meta.image_shape) * (1 if meta.table is None else 4) for meta in metas
    )
    if by == "content" and num_bytes > MAX_COMPARED_BYTES:
        reject(
            "?by",
            f"the versions have {num_bytes} bytes; at most {MAX_COMPARED_BYTES} are compared by content. Set by=names "
            "to compare names, splits and targets only",
        )
