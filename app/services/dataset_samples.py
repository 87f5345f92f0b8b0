"""Lists the samples of a dataset version and reads single images from its memory-mapped files."""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, NoReturn

import numpy as np
from sqlalchemy.orm import Session

from app.services.datasets import build_not_ready_error
from core.datasets.packed import SPLITS, PackedDataset, PackedMeta, PackedSplit, list_split_files
from core.datasets.sample_rendering import Cell, decode_rows, encode_image, find_class_samples, list_labels, to_numbers
from core.db.repos.datasets import DatasetRepo
from core.db.session import release_connection
from core.db.tables import DatasetVersionRow
from core.errors import Conflict, InvalidSpec, NotFound
from core.jobs import DatasetState
from core.spec.error_pointers import format_unknown_name
from core.storage import Storage

MAX_OPEN_SPLITS = 8
MAX_PAGE_VALUES = 100_000
CURSOR = re.compile(r"(train|valid|test)-([0-9]{1,10})")


@dataclass(frozen=True)
class Sample:
    """A sample with its labels, and for tables with the values of its rows."""

    split: str
    index: int
    name: str
    labels: list[str]
    targets: list[float] | None
    weight: float | None
    rows: list[dict[str, Cell]] | None


class SampleImage(NamedTuple):
    """A request for the image of a sample. `etag` changes with the content; `render` returns the PNG file."""

    etag: str
    render: Callable[[], bytes]


@dataclass
class _Entry:
    """A split that is open or being opened."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    split: PackedSplit | None = None


class SplitCache:
    """Keeps the splits open that were used last, so that their files are verified once and not for each sample."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[tuple[str, str], _Entry] = OrderedDict()

    def get_split(self, key: tuple[str, str], load: Callable[[], PackedSplit]) -> PackedSplit:
        """Return the split with a key, which is the storage key of its dataset and its name. Open it with `load`.

        Threads that need the same split wait for the first of them.
        """
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_OPEN_SPLITS:
                self._entries.popitem(last=False)
        with entry.lock:
            if entry.split is None:
                entry.split = load()
            return entry.split


class DatasetSampleService:
    """Reads samples of dataset versions. Its methods read files, so call them in a thread."""

    def __init__(self, session: Session, storage: Storage, cache: SplitCache) -> None:
        self._session = session
        self._storage = storage
        self._cache = cache

    def list_samples(
        self, name: str, version: int, *, label: str | None, split: str | None, cursor: str | None, limit: int
    ) -> tuple[list[Sample], str | None]:
        """Return a page of samples in the order of their splits and indices, and the cursor of the next page.

        A page has at most `MAX_PAGE_VALUES` values of rows, and at least one sample if there is one.

        Args:
            name: the name of the dataset.
            version: the number of its version.
            label: only samples of this class.
            split: only samples of this split.
            cursor: the cursor that was returned with the previous page.
            limit: the maximum number of samples.

        Raises:
            NotFound: the version does not exist.
            DatasetNotReady: the import has not finished, or failed.
            InvalidSpec: the class, split or cursor is invalid.
            CorruptFile: the checksum of a stored file does not match.
        """
        row, meta = self._open_version(name, version)
        if label is not None and label not in meta.classes:
            _reject("?class", format_unknown_name("class", label, meta.classes))
        if split is not None and split not in meta.splits:
            _reject("?split", f"must be a split of the dataset: {', '.join(meta.splits)}; got {split}")
        num_values = int(np.prod(meta.image_shape)) if meta.table is not None else 1
        limit = max(1, min(limit, MAX_PAGE_VALUES // num_values))
        samples: list[Sample] = []
        for name_, index, opened in self._iterate_indices(row, meta, label, split, cursor):
            if len(samples) == limit:
                return samples, f"{samples[-1].split}-{samples[-1].index}"
            samples.append(_build_sample(meta, name_, index, opened))
        return samples, None

    def get_image(self, name: str, version: int, split: str, index: int, size: int | None) -> SampleImage:
        """Return the image of a sample. Its pixels are read when it is rendered.

        Raises:
            NotFound: the version, split or sample does not exist.
            DatasetNotReady: the import has not finished, or failed.
            Conflict: the dataset is a table.
            CorruptFile: when it is rendered, the checksum of a stored file does not match.
        """
        row, meta = self._open_version(name, version)
        if index >= meta.splits.get(split, 0):
            counts = ", ".join(f"{key}: {count}" for key, count in meta.splits.items())
            raise NotFound(f"{name} version {version} has no sample {split}/{index}; its splits have {counts} samples.")
        if meta.table is not None:
            raise Conflict(
                f"{name} version {version} is a table: its samples are not images. List them to get their values.",
                allowed=[],
            )
        etag = f'"{meta.content_hash[:32]}-{split}-{index}-{size or 0}"'
        return SampleImage(etag, lambda: encode_image(self._open_split(row, meta, split).images[index], size))

    def _open_version(self, name: str, version: int) -> tuple[DatasetVersionRow, PackedMeta]:
        row = DatasetRepo(self._session).get_version(name, version)
        if row.state is not DatasetState.READY:
            raise build_not_ready_error(row)
        release_connection(self._session)
        return row, PackedMeta.model_validate(row.meta)

    def _open_split(self, row: DatasetVersionRow, meta: PackedMeta, split: str) -> PackedSplit:
        def load() -> PackedSplit:
            files: Mapping[str, Mapping[str, str]] = (row.meta or {})["files"]
            needed = {name: files[name]["sha256"] for name in list_split_files(meta, split)}
            return PackedDataset.open(self._storage.fetch(row.packed_key or "", needed)).read_split(split)

        return self._cache.get_split((row.packed_key or "", split), load)

    def _iterate_indices(
        self, row: DatasetVersionRow, meta: PackedMeta, label: str | None, split: str | None, cursor: str | None
    ) -> Iterator[tuple[str, int, PackedSplit]]:
        """Yield the split, the index and the open split of each selected sample after the cursor."""
        first_split, first_index = _parse_cursor(cursor)
        for name in SPLITS[SPLITS.index(first_split) :]:
            start = first_index if name == first_split else 0
            if name not in meta.splits or (split is not None and name != split) or start >= meta.splits[name]:
                continue
            opened = self._open_split(row, meta, name)
            if label is None:
                yield from ((name, index, opened) for index in range(start, meta.splits[name]))
            else:
                indices = find_class_samples(meta, opened.targets, label)
                for index in indices[np.searchsorted(indices, start) :]:
                    yield name, int(index), opened


def _build_sample(meta: PackedMeta, split: str, index: int, opened: PackedSplit) -> Sample:
    target = opened.targets[index]
    rows = None
    if meta.table is not None:
        rows = decode_rows(meta.table, opened.images[index].reshape(-1, len(meta.table.columns)))
    return Sample(
        split=split,
        index=index,
        name=opened.names[index],
        labels=list_labels(meta, np.asarray(target)),
        targets=to_numbers(np.asarray(target).reshape(-1)) if meta.task == "regression" else None,
        weight=None if opened.weights is None else to_numbers([opened.weights[index]])[0],
        rows=rows,
    )


def _parse_cursor(cursor: str | None) -> tuple[str, int]:
    """Return the split and the index of the first sample of a page."""
    if cursor is None:
        return SPLITS[0], 0
    match = CURSOR.fullmatch(cursor)
    if match is None:
        _reject("?cursor", "must be the next_cursor of a page")
    return match[1], int(match[2]) + 1


def _reject(pointer: str, reason: str) -> NoReturn:
    raise InvalidSpec(f"{pointer.removeprefix('?')}: {reason}.", errors=[(pointer, reason)])
