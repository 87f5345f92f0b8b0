"""Infers splits and classes from the paths in an archive."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from core.datasets.packed import SPLITS
from core.errors import InvalidArchive

Parts = tuple[str, ...]

_SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
}


class SamplePlacement(NamedTuple):
    """The split and class of an image."""

    split: str
    label: str


class ArchiveLayout(NamedTuple):
    """The splits and classes of an archive.

    Attributes:
        classes: the names of the classes, sorted.
        placements: the split and class of each image, or None for images outside of class folders.
        root: the path parts of the single top-level folder that contains all class folders, or ().
    """

    classes: tuple[str, ...]
    placements: list[SamplePlacement | None]
    empty_classes: tuple[str, ...]
    root: Parts = ()


def infer_layout(images: Sequence[Parts], folders: Sequence[Parts]) -> ArchiveLayout:
    """Return the splits and classes of an archive.

    The path of an image is `class/image` or `train/class/image`. With `train/…`, there can also be images in
    `valid/…` and `test/…`. A single top-level folder may contain all of these folders.

    Args:
        images: the path parts of every image.
        folders: the path parts of the folders in the archive. They are used to find classes without images.

    Raises:
        InvalidArchive: no image is in a class folder, or a class has no training images.
    """
    depth = _count_wrapping_folders(images)
    relative_parts = [parts[depth:] for parts in images]
    has_splits = _has_splits(relative_parts)
    placements = [_get_placement(parts, has_splits=has_splits) for parts in relative_parts]
    counts = Counter(place for place in placements if place)
    if not counts:
        raise InvalidArchive(
            "No image is in a class folder.",
            code="archive_empty",
            hint="Put the images into one folder for each class: class/image.jpg or train/class/image.jpg.",
        )
    classes = {place.label for place in counts if place.split == "train"}
    unknown_classes = sorted({place.label for place in counts} - classes)
    if unknown_classes:
        raise InvalidArchive(
            f"These classes have no training images: {', '.join(unknown_classes[:10])}.",
            code="dataset_unknown_class",
            hint="Every class in valid/ and test/ must also have images in train/.",
            classes=unknown_classes[:100],
        )
    empty_classes = (
        {_parse_class_folder(parts[depth:], has_splits=has_splits) for parts in folders if len(parts) > depth}
        - classes
        - {None}
    )
    root = images[0][:depth]
    return ArchiveLayout(
        tuple(sorted(classes)), placements, tuple(sorted(name for name in empty_classes if name)), root
    )


def sort_placements(placements: Sequence[SamplePlacement | None], names: Sequence[str]) -> list[int]:
    """Return the indices of the placed images, sorted by split, class and name."""
    placed = [(SPLITS.index(place.split), place.label, names[i], i) for i, place in enumerate(placements) if place]
    return [index for *_, index in sorted(placed)]


def _count_wrapping_folders(images: Sequence[Parts]) -> int:
    """Return 1 if a single folder, which is not a split, contains all class folders, otherwise 0."""
    tops = {parts[0] for parts in images}
    is_wrapped = len(tops) == 1 and not tops & set(_SPLIT_NAMES) and all(len(parts) > 2 for parts in images)
    return int(is_wrapped)


def _has_splits(images: Sequence[Parts]) -> bool:
    tops = {_SPLIT_NAMES.get(parts[0].lower()) for parts in images if len(parts) > 1}
    return "train" in tops and None not in tops and any(len(parts) > 2 for parts in images)


def _get_placement(parts: Parts, *, has_splits: bool) -> SamplePlacement | None:
    if len(parts) < 2 + has_splits:
        return None
    return (
        SamplePlacement(_SPLIT_NAMES[parts[0].lower()], parts[1]) if has_splits else SamplePlacement("train", parts[0])
    )


def _parse_class_folder(folder: Parts, *, has_splits: bool) -> str | None:
    if has_splits:
        return folder[1] if len(folder) == 2 and _SPLIT_NAMES.get(folder[0].lower()) else None
    return folder[0] if len(folder) == 1 else None
