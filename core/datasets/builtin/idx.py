"""Datasets in the IDX format of MNIST, plain or gzipped."""

import gzip
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.definition import BuiltinDataset, DatasetInfo, NoOptions, SampleChunk
from core.datasets.packed import Images
from core.errors import CorruptFile

_FILE_PREFIXES = {"train": "train", "test": "t10k"}
_IMAGES, _LABELS = 0x803, 0x801  # magic numbers: unsigned bytes with 3 and 1 dimensions
_MAX_BYTES = 2**30
_ROWS = 4096


def build_idx_dataset(
    *, name: str, summary: str, source: str, licence: str, classes: Sequence[str], folders: Sequence[str]
) -> BuiltinDataset:
    """Return a built-in dataset that is read from four IDX files.

    Args:
        name: the name of the dataset.
        summary: a description of the dataset.
        source: the origin of the dataset.
        licence: the licence of the dataset.
        classes: the names of the classes.
        folders: the folders to search, relative to the datasets folder. The help text names the first one.
    """

    def build_info(_options: NoOptions, _folder: Path | None) -> DatasetInfo:
        splits = {"train": 60_000, "test": 10_000}
        return DatasetInfo("classification", tuple(classes), len(classes), (1, 28, 28), splits)

    def find_missing(folder: Path, _options: NoOptions) -> list[str]:
        return _list_missing(folder, folders)

    def read_chunks(folder: Path, _options: NoOptions) -> Iterator[SampleChunk]:
        home = folder / _find_home(folder, folders)
        for split, stem in _FILE_PREFIXES.items():
            yield from _read_split(home, split, stem, len(classes))

    return BuiltinDataset(
        name=name,
        summary=summary,
        source=source,
        licence=licence,
        options=NoOptions,
        build_info=build_info,
        find_missing=find_missing,
        read_chunks=read_chunks,
        help_text=f"Put the four IDX files, plain or gzipped, into {folders[0]}/ of the datasets folder.",
    )


def _list_missing(folder: Path, folders: Sequence[str]) -> list[str]:
    home = _find_home(folder, folders)
    return [f"{home}/{name}.gz" for name in _list_file_names() if _find_file(folder / home, name) is None]


def _find_home(folder: Path, folders: Sequence[str]) -> str:
    """Return the candidate folder that contains the largest number of the dataset's files."""

    def count_files(home: str) -> int:
        return sum(_find_file(folder / home, name) is not None for name in _list_file_names())

    return max(folders, key=count_files)


def _list_file_names() -> list[str]:
    return [f"{stem}-{part}" for stem in _FILE_PREFIXES.values() for part in ("images-idx3-ubyte", "labels-idx1-ubyte")]


def _find_file(home: Path, name: str) -> Path | None:
    spellings = (name, name.replace("-idx", ".idx"))
    candidates = (home / f"{spelling}{suffix}" for spelling in spellings for suffix in ("", ".gz"))
    return next((path for path in candidates if path.is_file()), None)


def _read_split(home: Path, split: str, stem: str, num_classes: int) -> Iterator[SampleChunk]:
    images = _read_array(home, f"{stem}-images-idx3-ubyte", _IMAGES)[..., np.newaxis]
    labels = _read_array(home, f"{stem}-labels-idx1-ubyte", _LABELS).astype(np.int64)
    if len(images) != len(labels) or not len(images) or labels.max() >= num_classes:
        raise CorruptFile(
            f"The {split} labels in {home} do not match the images.", images=len(images), labels=len(labels)
        )
    for start in range(0, len(images), _ROWS):
        stop = min(start + _ROWS, len(images))
        names = [f"{split}/{i:05d}" for i in range(start, stop)]
        yield SampleChunk(split, images[start:stop], labels[start:stop], names)


def _read_array(home: Path, name: str, magic: int) -> Images:
    """Return the array in an IDX file.

    Raises:
        CorruptFile: the file is missing or damaged, or has a different format.
    """
    path = _find_file(home, name)
    if path is None:
        raise CorruptFile(f"{home / name} does not exist.")
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            body: Any = file.read(_MAX_BYTES)
        (file_magic,) = struct.unpack_from(">I", body)
        shape = struct.unpack_from(f">{file_magic & 0xFF}I", body, 4) if file_magic == magic else ()
        return np.frombuffer(body, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)
    except (OSError, EOFError, ValueError, struct.error) as error:
        raise CorruptFile(f"{path.name} is not an IDX file of the expected type, or it is damaged: {error}") from error
