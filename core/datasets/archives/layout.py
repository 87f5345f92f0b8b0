"""Infers splits and classes from the paths in an archive."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from core.datasets.archives.annotations import AnnotationFile, find_labels
from core.datasets.archives.folder_plan import FolderPlan, SamplePlacement, plan_folders
from core.datasets.archives.folder_tree import FolderNode, Parts
from core.datasets.archives.label_file import LabelRow
from core.datasets.archives.split_folders import SplitFolder
from core.datasets.packed import SPLITS
from core.datasets.split_names import normalize_name
from core.errors import InvalidArchive


class ArchiveLayout(NamedTuple):
    """The splits and classes of an archive.

    Attributes:
        classes: the names of the classes in Unicode normalization form NFC, sorted.
        placements: the split and class of each image, or None for images outside of class folders.
        root: the path parts of the folder that contains all class folders or splits, or ().
        annotations: the annotation files that were used.
    """

    classes: tuple[str, ...]
    placements: list[SamplePlacement | None]
    empty_classes: tuple[str, ...]
    root: Parts = ()
    annotations: frozenset[Parts] = frozenset()


def infer_layout(
    images: Sequence[Parts], folders: Sequence[Parts], annotations: Sequence[AnnotationFile] = ()
) -> ArchiveLayout:
    """Return the splits and classes of an archive.

    The path of an image is `class/image` or `train/class/image`. With `train/…`, there can also be images in
    `valid/…` and `test/…`. Any number of wrapping folders may contain all of these folders. Images outside of the
    class folders are not placed. Names are compared in Unicode normalization form NFC.

    Args:
        images: the path parts of every image.
        folders: the path parts of the folders in the archive. They are used to find classes without images.
        annotations: files that may contain the classes of the images of a validation or test split.

    Raises:
        InvalidArchive: no image is in a class folder, a class has no training images, or a folder could be a split or
            a class.
    """
    normalized = _normalize_folders(parts[:-1] for parts in images)
    tree = FolderNode.build(Counter(normalized[parts[:-1]] for parts in images))
    plan = plan_folders(tree)
    placed = {folder: _find_class_folder(folder, plan.class_folders) for folder in normalized.values()}
    placements = [placed[normalized[parts[:-1]]] for parts in images]
    classes = {place.label for place in plan.class_folders.values() if place.split == "train"}
    used = [
        _place_annotated_images(split, images, normalized, placements, annotations, classes)
        for split in plan.split_folders
    ]
    _check_placements(placements, classes)
    first = next(i for i, place in enumerate(placements) if place)
    return ArchiveLayout(
        tuple(sorted(classes)),
        placements,
        tuple(sorted(_find_empty_classes(folders, tree, plan) - classes)),
        images[first][: len(plan.root)],
        frozenset(parts for parts in used if parts),
    )


def place_labelled_images(rows: Mapping[int, LabelRow], num_images: int, root: Parts) -> ArchiveLayout:
    """Return the splits and classes that the rows of a label file contain.

    Args:
        rows: the rows of the images, keyed by the number of the image. Every row has a class.
        num_images: the number of images. Images without a row are not placed.
        root: the folder of the label file.

    Raises:
        InvalidArchive: a class has no training images.
    """
    placements: list[SamplePlacement | None] = [None] * num_images
    for index, row in rows.items():
        placements[index] = SamplePlacement(row.split or "train", row.label or "")
    return _build_layout(placements, root)


def move_images(layout: ArchiveLayout, splits: Mapping[int, str], *, has_train: bool) -> ArchiveLayout:
    """Return the layout with other splits of some images.

    Args:
        layout: the classes of the images.
        splits: the splits of the listed images, keyed by the number of the image.
        has_train: whether training images are listed. If so, the images that are not listed are not placed; otherwise,
            they keep their split.

    Raises:
        InvalidArchive: a class has no training images.
    """
    placements = [
        None
        if place is None or (has_train and index not in splits)
        else place._replace(split=splits.get(index, place.split))
        for index, place in enumerate(layout.placements)
    ]
    moved = _build_layout(placements, layout.root)
    return moved._replace(empty_classes=layout.empty_classes, annotations=layout.annotations)


def _build_layout(placements: list[SamplePlacement | None], root: Parts) -> ArchiveLayout:
    classes = {place.label for place in placements if place and place.split == "train"}
    _check_placements(placements, classes)
    return ArchiveLayout(tuple(sorted(classes)), placements, (), root)


def sort_placements(placements: Sequence[SamplePlacement | None], names: Sequence[str]) -> list[int]:
    """Return the indices of the placed images, sorted by split, class and name."""
    placed = [(SPLITS.index(place.split), place.label, names[i], i) for i, place in enumerate(placements) if place]
    return [index for *_, index in sorted(placed)]


def _find_class_folder(folder: Parts, class_folders: Mapping[Parts, SamplePlacement]) -> SamplePlacement | None:
    return next((class_folders[folder[:n]] for n in range(len(folder), 0, -1) if folder[:n] in class_folders), None)


def _place_annotated_images(
    folder: SplitFolder,
    images: Sequence[Parts],
    normalized: Mapping[Parts, Parts],
    placements: list[SamplePlacement | None],
    annotations: Sequence[AnnotationFile],
    classes: set[str],
) -> Parts | None:
    """Place the images of a split that are not in the folder of a class, if a file contains their classes.

    Return the path parts of the file, or None.
    """
    unlabelled = {
        i: images[i]
        for i, place in enumerate(placements)
        if (place is None or place.label not in classes)
        and normalized[images[i][:-1]][: len(folder.path)] == folder.path
    }
    match = find_labels(unlabelled, annotations, folder.split, classes) if unlabelled else None
    if match is None:
        return None
    for index, label in match.labels.items():
        placements[index] = SamplePlacement(folder.split, label)
    return match.file.parts


def _check_placements(placements: Sequence[SamplePlacement | None], classes: set[str]) -> None:
    labels = {place.label for place in placements if place}
    if not labels:
        raise InvalidArchive(
            "No image is in a class folder.",
            code="archive_empty",
            hint="Put the images into one folder for each class: class/image.jpg or train/class/image.jpg. Or add a "
            "file labels.csv with the columns name and label.",
        )
    unknown_classes = sorted(labels - classes)
    if unknown_classes:
        raise InvalidArchive(
            f"These classes have no training images: {', '.join(unknown_classes[:10])}.",
            code="dataset_unknown_class",
            hint="Every class of the validation and test images must also have training images. Images without "
            "class folders need a file of names and classes in the folder of their split, for example "
            "val/val_annotations.txt. The original files of Tiny ImageNet are also the built-in dataset tiny_imagenet.",
            classes=unknown_classes[:100],
        )


def _normalize_folders(folders: Iterable[Parts]) -> dict[Parts, Parts]:
    return {folder: tuple(normalize_name(name) for name in folder) for folder in set(folders)}


def _find_empty_classes(folders: Sequence[Parts], tree: FolderNode, plan: FolderPlan) -> set[str]:
    """Return the names of the folders without images in the folders that contain the class folders."""
    parents = {path[:-1] for path, place in plan.class_folders.items() if path[-1] == place.label}
    normalized = _normalize_folders(folders).values()
    return {path[-1] for path in normalized if path and path[:-1] in parents and not _has_images(tree, path)}


def _has_images(tree: FolderNode, path: Parts) -> bool:
    node = tree
    for name in path:
        if name not in node.children:
            return False
        node = node.children[name]
    return True
