"""Finds the class, split, group and weight of each image of an archive: from its folders, a CSV file or lists."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from core.datasets.archives.folder_tree import Parts
from core.datasets.archives.label_file import open_label_file
from core.datasets.archives.label_match import MIN_MATCHED_SHARE, LabelMatch, match_label_rows
from core.datasets.archives.layout import (
    ArchiveLayout,
    infer_layout,
    move_images,
    place_labelled_images,
    sort_placements,
)
from core.datasets.archives.split_lists import read_split_lists
from core.datasets.archives.spool import ImageSpool
from core.datasets.definition import SampleChunk
from core.datasets.sample_groups import number_groups, summarize_groups
from core.datasets.split_names import normalize_name
from core.datasets.tables.sample_weights import align_weights
from core.errors import InvalidArchive

_GROUP_CODE = "dataset_bad_groups"


class ArchiveLabels(NamedTuple):
    """The classes, splits, groups and weights of the images of an archive.

    Attributes:
        weights: the weights of images by path. None: the label file has no weights.
        groups: the number of the group of each image by path. None: the images have no groups.
        files: the label file and the lists that were used.
        warnings: warnings for the import report.
        extra: additional fields of the import report.
    """

    layout: ArchiveLayout
    weights: dict[str, float] | None
    groups: dict[str, int] | None
    files: frozenset[Parts]
    warnings: list[str]
    extra: dict[str, Any]

    def add_to_chunks(
        self, chunks: Iterable[SampleChunk], weights: Mapping[str, float] | None
    ) -> Iterator[SampleChunk]:
        """Yield the chunks with the groups of the images and with the weights, both by name in form NFC."""
        for chunk in chunks:
            names = [normalize_name(name) for name in chunk.names]
            groups = None if self.groups is None else np.asarray([self.groups[name] for name in names], np.int64)
            yield chunk._replace(groups=groups, weights=None if weights is None else align_weights(names, weights))


def read_archive_labels(spool: ImageSpool, labels: str | None, group_separator: str | None) -> ArchiveLabels:
    """Return the classes, splits, groups and weights of the images.

    Args:
        spool: the files of the archive.
        labels: the name of the label file. None: find it.
        group_separator: the text that ends the group in the name of each image. None: names have no groups.

    Raises:
        InvalidArchive: the images have no classes, or a label file or list is invalid.
    """
    images = [*(image.parts for image in spool.spooled_images), *spool.unreadable_parts]
    layout, match, warnings = _place_images(spool, images, labels)
    files = frozenset() if match is None else frozenset({match.file.parts})
    extra: dict[str, Any] = {} if match is None else {"label_file": match.to_dict(len(images))}
    if match is None or not match.has_splits:
        layout, list_files, list_warnings = _apply_split_lists(spool, images, layout)
        files, warnings = files | list_files, [*warnings, *list_warnings]
    names = _list_group_names(images, layout, match, group_separator)
    groups = None if names is None else _number_images(spool, layout, names)
    if groups is not None:
        extra["groups"] = summarize_groups(np.asarray(list(groups.values())))
    weights = None
    if match is not None and "weight" in match.file.columns:
        weights = {_get_key(images[i]): 1.0 if row.weight is None else row.weight for i, row in match.rows.items()}
    return ArchiveLabels(layout, weights, groups, files, warnings, extra)


def _get_key(parts: Parts) -> str:
    return normalize_name("/".join(parts))


def _place_images(
    spool: ImageSpool, images: Sequence[Parts], labels: str | None
) -> tuple[ArchiveLayout, LabelMatch | None, list[str]]:
    """Return the layout, the label file with its images if there is one, and warnings.

    A file that was neither requested nor called `labels.csv` is used only if it is without faults and lists at least
    half of the images, or if the folders contain no classes.
    """
    file = open_label_file([*spool.list_files, *spool.annotation_files], images, labels)
    if file is None:
        return infer_layout(images, spool.folders, spool.annotation_files), None, []
    try:
        match = match_label_rows(file, images)
        _check_matches(match, len(images))
        return _place_rows(spool, images, match), match, match.list_warnings(len(images))
    except InvalidArchive as error:
        if file.is_certain:
            raise
        try:
            layout = infer_layout(images, spool.folders, spool.annotation_files)
        except InvalidArchive:
            raise error from None
        return layout, None, [f"{file.name} was not used: {error.detail}"]


def _check_matches(match: LabelMatch, num_images: int) -> None:
    share = 0.0 if match.file.is_certain else MIN_MATCHED_SHARE
    if len(match.rows) < max(1, share * num_images):
        raise InvalidArchive(
            f"{match.file.name}: {len(match.rows)} of its {match.num_rows} rows name images of the archive"
            + (f"; it has no image {match.missing[0]!r}." if match.missing else "."),
            code="dataset_bad_labels",
            hint="The names must be paths of images relative to the CSV file or to the root of the archive.",
        )


def _place_rows(spool: ImageSpool, images: Sequence[Parts], match: LabelMatch) -> ArchiveLayout:
    if match.has_labels:
        return place_labelled_images(match.rows, len(images), match.file.parts[:-1])
    layout = infer_layout(images, spool.folders, spool.annotation_files)
    if not match.has_splits:
        return layout
    return move_images(layout, {i: row.split for i, row in match.rows.items() if row.split}, has_train=False)


def _apply_split_lists(
    spool: ImageSpool, images: Sequence[Parts], layout: ArchiveLayout
) -> tuple[ArchiveLayout, frozenset[Parts], Sequence[str]]:
    """Return the layout with the splits of the lists, the lists that were used, and warnings.

    Lists are used only if the archive has no folders of splits.
    """
    unchanged = layout, frozenset[Parts](), ()
    if any(place is not None and place.split != "train" for place in layout.placements):
        return unchanged
    files = [file for file in (*spool.list_files, *spool.annotation_files) if file.parts not in layout.annotations]
    lists = read_split_lists(files, images, layout.root)
    if lists is None:
        return unchanged
    moved = move_images(layout, lists.splits, has_train=lists.has_train)
    num_unlisted = sum(place is not None for place in layout.placements) - sum(
        place is not None for place in moved.placements
    )
    warning = f"{num_unlisted} images are in none of the lists of splits and were not imported."
    return moved, lists.files, (*lists.warnings, *([warning] if num_unlisted else ()))


def _list_group_names(
    images: Sequence[Parts], layout: ArchiveLayout, match: LabelMatch | None, separator: str | None
) -> list[str | None] | None:
    """Return the group of each image. None: the images have no groups. A group of None: the image has no group.

    Raises:
        InvalidArchive: no name contains the separator, there are two sources of groups, or a group is in two splits.
    """
    has_column = match is not None and "group" in match.file.columns
    if separator is None and (match is None or not has_column):
        return None
    if separator is not None and match is not None and has_column:
        raise InvalidArchive(
            f"?group_separator: {match.file.name} also contains groups; remove the option or the column.",
            code=_GROUP_CODE,
        )
    names: list[str | None] = [None] * len(images)
    if match is not None and has_column:
        for index, row in match.rows.items():
            names[index] = row.group
    elif separator is not None:
        found = [normalize_name(parts[-1]).partition(separator) for parts in images]
        names = [group if mark and group else None for group, mark, _ in found]
        if not any(names):
            raise InvalidArchive(
                f"?group_separator: no name of an image has a text before {separator!r}.", code=_GROUP_CODE
            )
    _check_groups(names, layout)
    return names


def _check_groups(names: Sequence[str | None], layout: ArchiveLayout) -> None:
    splits: dict[str, str] = {}
    for name, place in zip(names, layout.placements, strict=True):
        if name is None or place is None:
            continue
        split = splits.setdefault(name, place.split)
        if split != place.split:
            raise InvalidArchive(
                f"The group {name[:100]!r} is in the splits {split} and {place.split}.",
                code=_GROUP_CODE,
                hint="Put all images of a group into one split, or upload the images without groups.",
            )


def _number_images(spool: ImageSpool, layout: ArchiveLayout, names: Sequence[str | None]) -> dict[str, int]:
    """Return the number of the group of each readable image, by path, regardless of the order of the archive."""
    spooled = spool.spooled_images
    order = sort_placements(layout.placements[: len(spooled)], [image.name for image in spooled])
    numbers = number_groups([names[index] for index in order])
    return {_get_key(spooled[index].parts): number for index, number in zip(order, numbers.tolist(), strict=True)}
