"""Orders the samples and classes of an edited version, as an upload of the same files would order them."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from core.datasets.edits.class_plan import sort_classes
from core.datasets.edits.selection import Index, SampleSelection
from core.datasets.packed import SPLITS, PackedMeta, PackedSplit
from core.datasets.split_names import normalize_name


class SampleOrder(NamedTuple):
    """The classes of a new version, and the samples of each split in order, as indices of the selection."""

    classes: tuple[str, ...]
    splits: dict[str, Index]


def order_samples(selection: SampleSelection) -> SampleOrder:
    """Return the order of the samples that remain, and renumber their labels.

    Classes without samples are removed. If the classes of the base version are in the order of an upload, the new
    classes are sorted too; else they retain their order. If the samples of the base version are in the order of an
    upload, which is by class and name, the new samples are sorted too; else they retain their order.
    """
    is_sorted = _is_upload_order(selection)
    classes = _remove_empty_classes(selection)
    if list(selection.meta.classes) == sort_classes(selection.meta.classes, is_table=_is_table(selection)):
        classes = sort_classes(classes, is_table=_is_table(selection))
    if selection.labels is not None:
        codes = {name: code for code, name in enumerate(classes)}
        code_by_code = np.asarray([codes.get(name, -1) for name in selection.classes], np.int64)
        selection.labels = np.where(selection.labels < 0, -1, code_by_code[selection.labels])
        selection.classes = classes
    splits = {}
    for code, name in enumerate(SPLITS):
        index = np.flatnonzero(selection.is_retained & (selection.split_codes == code))
        if len(index):
            splits[name] = _sort_samples(selection, index) if is_sorted else index
    return SampleOrder(tuple(classes), splits)


def _is_table(selection: SampleSelection) -> bool:
    return selection.meta.table is not None


def _remove_empty_classes(selection: SampleSelection) -> list[str]:
    if selection.labels is None:
        return selection.classes
    counts = np.bincount(selection.labels[selection.is_retained], minlength=len(selection.classes))
    empty = [name for name, count in zip(selection.classes, counts.tolist(), strict=True) if not count]
    if empty:
        listed = ", ".join(empty[:10]) + ", …" * (len(empty) > 10)
        selection.warnings.append(f"These classes have no samples and were removed: {listed}.")
    return [name for name in selection.classes if name not in set(empty)]


def _is_upload_order(selection: SampleSelection) -> bool:
    """Return whether the base version consists of images that are sorted by class and name in each split."""
    meta: PackedMeta = selection.meta
    if meta.table is not None or selection.labels is None or list(meta.classes) != sorted(meta.classes):
        return False
    return all(_is_split_sorted(split) for split in selection.splits.values())


def _is_split_sorted(split: PackedSplit) -> bool:
    labels = np.asarray(split.targets, np.int64).reshape(-1)
    if (np.diff(labels) < 0).any():
        return False
    starts = set((np.flatnonzero(np.diff(labels)) + 1).tolist())
    return all(first < second for at, (first, second) in enumerate(pairwise(split.names), 1) if at not in starts)


def _sort_samples(selection: SampleSelection, index: Index) -> Index:
    labels, before = selection.labels, selection.source_labels
    if labels is None or before is None:
        return index
    classes, old_classes = selection.classes, selection.meta.classes

    def build_key(at: int) -> tuple[int, str, str]:
        name = selection.names[at]
        return int(labels[at]), replace_class_folder(name, old_classes[before[at]], classes[labels[at]]), name

    return np.asarray(sorted(index.tolist(), key=build_key), np.int64)


def replace_class_folder(name: str, old: str, new: str) -> str:
    """Return the path that an image would have if its file were moved from the folder `old` to the folder `new`."""
    if old == new:
        return name
    parts: Sequence[str] = name.split("/")
    at = next((at for at, part in enumerate(parts[:-1]) if normalize_name(part) == old), None)
    return name if at is None else "/".join((*parts[:at], new, *parts[at + 1 :]))
