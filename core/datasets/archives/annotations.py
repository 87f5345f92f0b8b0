"""Reads the files of names and classes that some datasets have instead of class folders.

Tiny ImageNet, for example, has `val/images/val_0.JPEG` and `val/val_annotations.txt`, whose lines are the name of an
image, its class, and the corners of a box, separated by tabs.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from core.datasets.archives.folder_tree import Parts
from core.datasets.split_names import normalize_name, parse_split_name

_SUFFIXES = frozenset({".txt", ".csv", ".tsv"})
_NAMES = re.compile(r"annot|label|ground.?truth|class", re.IGNORECASE)
_SEPARATORS = ("\t", ",", ";")
_MIN_MATCHED_SHARE = 0.5  # of the images without class folder, so that unrelated files are not used


class AnnotationFile(NamedTuple):
    """A text file that may contain the classes of images, and the path of its temporary copy."""

    parts: Parts
    path: Path


class AnnotationMatch(NamedTuple):
    """The classes that a file contains, keyed by the number of the image."""

    file: AnnotationFile
    labels: dict[int, str]


def is_annotation_file(parts: Parts) -> bool:
    """Return whether the file may contain the classes of a validation or test split, judging by its path.

    The file is in the folder of the split, or its name contains the name of the split: `val_annotations.txt`.
    """
    name = PurePosixPath(parts[-1])
    if name.suffix.lower() not in _SUFFIXES:
        return False
    split = parse_split_name(name.stem)
    is_in_split = len(parts) > 1 and parse_split_name(parts[-2]) in ("valid", "test")
    return split in ("valid", "test") or (is_in_split and split is None and bool(_NAMES.search(name.stem)))


def find_labels(
    images: Mapping[int, Parts], files: Sequence[AnnotationFile], split: str, classes: Collection[str]
) -> AnnotationMatch | None:
    """Return the classes of images, keyed like `images`, from the annotation file that contains most of them.

    Images that the file does not contain are left out. Return None if no file contains at least half of the images.

    Args:
        images: the path parts of the images of one split.
        files: the annotation files of the archive.
        split: the split of the images.
        classes: the classes of the training images.
    """
    matches = [
        AnnotationMatch(file, _match_images(images, file, classes)) for file in files if _get_split(file.parts) == split
    ]
    best = max(matches, key=lambda match: len(match.labels), default=None)
    return best if best and len(best.labels) >= max(1, _MIN_MATCHED_SHARE * len(images)) else None


def _get_split(parts: Parts) -> str | None:
    return parse_split_name(PurePosixPath(parts[-1]).stem) or (parse_split_name(parts[-2]) if len(parts) > 1 else None)


def _match_images(images: Mapping[int, Parts], file: AnnotationFile, classes: Collection[str]) -> dict[int, str]:
    """Return the labels of the images that the file names: by path relative to the file, by name, or without suffix."""
    labels: dict[str, str] = {}
    for first, second in _read_rows(file.path):
        if second in classes:
            labels[first.removeprefix("./")] = second
        elif first in classes:
            labels[second.removeprefix("./")] = first
    found: dict[int, str] = {}
    for index, parts in images.items():
        names = [normalize_name(name) for name in parts]
        relative = "/".join(names[len(file.parts) - 1 :])
        candidates = (relative, "/".join(names), names[-1], PurePosixPath(names[-1]).stem)
        label = next((labels[name] for name in candidates if name in labels), None)
        if label is not None:
            found[index] = label
    return found


def _read_rows(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the first two fields of each line, separated by tabs, commas, semicolons or spaces."""
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for line in file:
            separator = next((mark for mark in _SEPARATORS if mark in line), None)
            fields = [field.strip().strip('"') for field in line.split(separator, 2)]
            if len(fields) >= 2:
                yield normalize_name(fields[0]), normalize_name(fields[1])
