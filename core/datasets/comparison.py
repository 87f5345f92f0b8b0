"""Compares two versions of a dataset: samples that were added, removed, relabelled, moved or changed."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from core.datasets.digests import compute_digests, group_equal, hash_texts
from core.datasets.packed import SPLITS, PackedDataset, PackedSplit, Task

Index = NDArray[np.int64]
Columns = list[NDArray[Any]]
Change = Literal["added", "removed", "relabelled", "moved", "changed"]
CHANGES: tuple[Change, ...] = ("added", "removed", "relabelled", "moved", "changed")
MAX_LISTED = 100
_MAX_TARGETS = 10  # numbers in the text of a target


class SampleChange(NamedTuple):
    """A sample of the version, and the same sample of the base version. The fields of a missing sample are None."""

    split: str | None
    name: str | None
    label: str | None
    base_split: str | None
    base_name: str | None
    base_label: str | None


@dataclass
class VersionComparison:
    """The differences between a version and a base version.

    Attributes:
        num_unchanged: the number of samples that did not change. Their names may differ.
        counts: the number of changes of each kind, keyed by split.
        class_counts: the number of changes of each kind, keyed by split and class.
        samples: the first 100 changes of each kind.
    """

    num_unchanged: int = 0
    counts: dict[str, Counter[Change]] = field(default_factory=dict)
    class_counts: dict[str, dict[str, Counter[Change]]] = field(default_factory=dict)
    samples: dict[Change, list[SampleChange]] = field(default_factory=lambda: {change: [] for change in CHANGES})


class _Version:
    """The samples of a version as columns of numbers, which can be compared."""

    def __init__(
        self, packed: PackedDataset, codes: dict[str, int], on_chunk: Callable[[], None], *, digests: bool
    ) -> None:
        self.meta = packed.meta
        self.splits: dict[str, PackedSplit] = {name: packed.read_split(name) for name in packed.meta.splits}
        splits = list(self.splits.items())
        sizes = [len(split.names) for _, split in splits]
        self.starts = dict(zip(self.splits, np.cumsum([0, *sizes]).tolist(), strict=False))
        self.split_codes = np.repeat([SPLITS.index(name) for name, _ in splits], sizes)
        self.names = np.concatenate([hash_texts(split.names) for _, split in splits])
        self.targets = np.concatenate([_encode_targets(self.meta.task, self.meta.classes, s, codes) for _, s in splits])
        self.digests = np.zeros((sum(sizes), 0), np.uint64)
        if digests:
            self.digests = np.concatenate([compute_digests(split.images, on_chunk) for _, split in splits])

    def get_columns(self, names: Sequence[str], index: Index) -> Columns:
        """Return the named columns of the samples."""
        columns = {"split": [self.split_codes], "name": list(self.names.T), "target": list(self.targets.T)}
        columns["digest"] = list(self.digests.T)
        return [column[index] for name in names for column in columns[name]]

    def describe_sample(self, at: int) -> tuple[str, str, str]:
        """Return the split, the name and the target of a sample."""
        name = SPLITS[self.split_codes[at]]
        split, position = self.splits[name], at - self.starts[name]
        return name, split.names[position], format_target(self.meta.task, self.meta.classes, split.targets[position])


def compare_versions(
    version: PackedDataset, base: PackedDataset, *, by_content: bool = True, on_chunk: Callable[[], None] = lambda: None
) -> VersionComparison:
    """Compare a version with a base version.

    Each sample is paired with at most one sample of the base version: first with an equal sample of the same name, then
    with an equal sample of the same split, then with an equal sample of another split, which was moved. A sample with
    the same name and split, but other pixels or numbers, has changed. The others were added or removed.

    Args:
        version: the version.
        base: the base version.
        by_content: whether to compare pixels or numbers. Otherwise, samples with equal names count as equal.
        on_chunk: called before each chunk of samples is read. It may raise an exception to end the work.
    """
    codes: dict[str, int] = {}
    new, old = (_Version(packed, codes, on_chunk, digests=by_content) for packed in (version, base))
    comparison = VersionComparison()
    new_index, old_index = np.arange(len(new.split_codes)), np.arange(len(old.split_codes))
    for columns, change in _CONTENT_STEPS if by_content else _NAME_STEPS:
        on_chunk()
        at_new, at_old = pair_rows(new.get_columns(columns, new_index), old.get_columns(columns, old_index))
        _record_pairs(comparison, new, old, new_index[at_new], old_index[at_old], change)
        new_index, old_index = np.delete(new_index, at_new), np.delete(old_index, at_old)
    _record_changes(comparison, "added", new, new_index.tolist(), lambda at: (*new.describe_sample(at), *_MISSING))
    _record_changes(comparison, "removed", old, old_index.tolist(), lambda at: (*_MISSING, *old.describe_sample(at)))
    return comparison


_MISSING = (None, None, None)
# Columns that must be equal, and the change of such pairs. Pairs in the same split whose targets differ are relabelled.
_CONTENT_STEPS: tuple[tuple[tuple[str, ...], Change | None], ...] = (
    (("split", "name", "digest"), None),
    (("split", "digest", "target"), None),
    (("split", "digest"), None),
    (("digest", "target"), "moved"),
    (("digest",), "moved"),
    (("split", "name"), "changed"),
)
_NAME_STEPS: tuple[tuple[tuple[str, ...], Change | None], ...] = ((("split", "name"), None), (("name",), "moved"))


def pair_rows(first: Columns, second: Columns) -> tuple[Index, Index]:
    """Pair equal rows of two tables one to one. Return the positions of the pairs in both tables.

    Args:
        first: the columns of the first table, each (N,).
        second: the columns of the second table, each (M,).
    """
    num_first = len(first[0])
    groups = group_equal([np.concatenate(pair) for pair in zip(first, second, strict=True)])
    numbers, other_numbers = (_number_within_groups(part) for part in (groups[:num_first], groups[num_first:]))
    _, at_first, at_second = np.intersect1d(numbers, other_numbers, assume_unique=True, return_indices=True)
    order = np.argsort(at_first)
    return at_first[order], at_second[order]


def _number_within_groups(groups: Index) -> Index:
    """Return a different number for each row. The n-th rows of equal groups in two tables have equal numbers."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.diff(ordered, prepend=-1))
    ranks = np.arange(len(ordered)) - np.repeat(starts, np.diff(starts, append=len(ordered)))
    numbers = np.empty(len(groups), np.int64)
    numbers[order] = ordered * 2**31 + ranks
    return numbers


def _record_pairs(
    comparison: VersionComparison, new: _Version, old: _Version, at_new: Index, at_old: Index, change: Change | None
) -> None:
    pairs = dict(zip(at_new.tolist(), at_old.tolist(), strict=True))

    def describe(at: int) -> tuple[Any, ...]:
        return *new.describe_sample(at), *old.describe_sample(pairs[at])

    if change is not None:
        _record_changes(comparison, change, new, list(pairs), describe)
        return
    is_relabelled = (new.targets[at_new] != old.targets[at_old]).any(axis=1)
    comparison.num_unchanged += int((~is_relabelled).sum())
    _record_changes(comparison, "relabelled", new, at_new[is_relabelled].tolist(), describe)


def _record_changes(
    comparison: VersionComparison, change: Change, version: _Version, index: list[int], describe: Callable[[int], Any]
) -> None:
    listed = comparison.samples[change]
    listed += [SampleChange(*describe(at)) for at in index[: MAX_LISTED - len(listed)]]
    at = np.asarray(index, np.int64)
    for code, split in enumerate(SPLITS):
        in_split = at[version.split_codes[at] == code]
        if not len(in_split):
            continue
        comparison.counts.setdefault(split, Counter())[change] += len(in_split)
        if version.meta.task in ("classification", "binary"):
            labels = np.asarray(version.splits[split].targets, np.int64).reshape(-1)[in_split - version.starts[split]]
            by_class = comparison.class_counts.setdefault(split, {})
            for label, number in zip(*(part.tolist() for part in np.unique(labels, return_counts=True)), strict=True):
                by_class.setdefault(version.meta.classes[label], Counter())[change] += number


def _encode_targets(
    task: Task, classes: Sequence[str], split: PackedSplit, codes: dict[str, int]
) -> NDArray[np.uint64]:
    """Return columns that are equal for equal targets, (N, K). Classes are compared by name, not by index."""
    if task in ("classification", "binary"):
        labels = np.asarray(split.targets, np.int64).reshape(-1)
        numbers = count(len(codes))
        for name in classes:
            if name not in codes:
                codes[name] = next(numbers)
        by_label = np.asarray([(codes[name], 0) for name in classes], np.uint64)
        return by_label[labels]
    return compute_digests(np.ascontiguousarray(split.targets))


def format_target(task: Task, classes: Sequence[str], target: Any) -> str:  # noqa: ANN401 - an integer or an array
    """Return a target as text: the name of the class, the names of the classes, or the numbers."""
    values = np.asarray(target).reshape(-1)
    if task in ("classification", "binary"):
        return classes[int(values[0])]
    if task == "multilabel":
        return ", ".join(name for name, value in zip(classes, values, strict=True) if value > 0)
    more = ", …" * (len(values) > _MAX_TARGETS)
    return ", ".join(f"{value:g}" for value in values[:_MAX_TARGETS]) + more
