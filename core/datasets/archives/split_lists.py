"""Reads `train.txt`, `valid.txt` and `test.txt`: lists of the images of each split, one path per line."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import NamedTuple

from core.datasets.archives.annotations import AnnotationFile
from core.datasets.archives.folder_tree import Parts
from core.datasets.archives.name_index import NameIndex
from core.datasets.split_names import parse_split_name
from core.errors import InvalidArchive

_MIN_MATCHED_SHARE = 0.5  # of the lines, so that files with other contents are not used
_CODE = "dataset_bad_split_list"


class SplitLists(NamedTuple):
    """The splits that lists of files select.

    Attributes:
        splits: the split of each listed image, keyed by the number of the image.
        files: the lists that were used.
        has_train: whether one of the lists is of the training split. Otherwise, it has all other images.
        warnings: warnings about lines that name no image.
    """

    splits: dict[int, str]
    files: frozenset[Parts]
    has_train: bool
    warnings: tuple[str, ...]


class _ListedImages(NamedTuple):
    """The images of one list: the line of each image, and the lines that name no image or several images."""

    lines: dict[int, int]
    num_missing: int
    ambiguous: tuple[int, str] | None


def get_list_split(parts: Parts) -> str | None:
    """Return the split of a list by its name, such as `train.txt` or `testing_list.txt`, or None for other files."""
    name = PurePosixPath(parts[-1])
    return parse_split_name(name.stem) if name.suffix.lower() == ".txt" else None


def read_split_lists(files: Sequence[AnnotationFile], images: Sequence[Parts], root: Parts) -> SplitLists | None:
    """Read the lists of the splits, or return None if there are none.

    Args:
        files: the text files of the archive.
        images: the path parts of every image.
        root: the folder that contains the class folders. The lists are in it, or in a folder above or next to it.

    Raises:
        InvalidArchive: a line can mean several images, an image is in two lists, or a split has two lists.
    """
    folders = {root[:depth] for depth in range(len(root) + 1)}
    candidates = [
        (split, file)
        for file in files
        if (split := get_list_split(file.parts)) and (file.parts[:-1] in folders or file.parts[:-2] in folders)
    ]
    if not candidates:
        return None
    index = NameIndex(images)
    splits: dict[int, str] = {}
    used: dict[str, Parts] = {}
    warnings: list[str] = []
    for split, file in sorted(candidates):
        listed = _read_list(file, index)
        if listed is None:
            continue
        _check_list(split, file.parts, listed, splits, used)
        splits |= dict.fromkeys(listed.lines, split)
        used[split] = file.parts
        if listed.num_missing:
            warnings.append(f"{'/'.join(file.parts)}: {listed.num_missing} lines name no image of the archive.")
    return SplitLists(splits, frozenset(used.values()), "train" in used, tuple(warnings)) if used else None


def _check_list(
    split: str, parts: Parts, listed: _ListedImages, splits: dict[int, str], used: dict[str, Parts]
) -> None:
    name = "/".join(parts)
    if split in used:
        raise InvalidArchive(f"The split {split} has two lists: {'/'.join(used[split])} and {name}.", code=_CODE)
    if listed.ambiguous is not None:
        line, reason = listed.ambiguous
        raise InvalidArchive(f"{name}: Line {line}: {reason}.", code=_CODE, line=line, hint="Write the folder too.")
    both = next((position for position in listed.lines if position in splits), None)
    if both is not None:
        line = listed.lines[both]
        raise InvalidArchive(
            f"{name}: Line {line}: the image is also in the list {'/'.join(used[splits[both]])}.", code=_CODE, line=line
        )


def _read_list(file: AnnotationFile, index: NameIndex) -> _ListedImages | None:
    """Return the images of a list, or None if fewer than half of its lines are names of images."""
    lines: dict[int, int] = {}
    ambiguous: tuple[int, str] | None = None
    num_missing = num_lines = 0
    with file.path.open(encoding="utf-8-sig", errors="replace") as text:
        for line, name in enumerate((raw.strip() for raw in text), start=1):
            if not name:
                continue
            num_lines += 1
            match = index.find_images(name, file.parts[:-1])
            if match.is_clear:
                lines.setdefault(match.images[0], line)
                continue
            num_missing += 1
            if match.images and ambiguous is None:
                ambiguous = line, f"{name[:200]!r} can mean several images: {index.format_choices(match)}"
    return (
        _ListedImages(lines, num_missing, ambiguous) if len(lines) >= max(1, _MIN_MATCHED_SHARE * num_lines) else None
    )
