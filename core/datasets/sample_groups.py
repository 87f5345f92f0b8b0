"""Groups of samples that a random split keeps together: equal numbers mean the same group."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Groups = NDArray[np.int64]


def join_pairs(labels: Groups, pairs: NDArray[np.int64]) -> Groups:
    """Return the labels after the groups of each pair are joined.

    Args:
        labels: int64 (N,), the smallest position in the group of each sample.
        pairs: int64 (M, 2), positions of samples in the same group.
    """
    while True:
        ends = labels[pairs]
        low, high = ends.min(axis=1), ends.max(axis=1)
        if np.array_equal(low, high):
            return labels
        parents = np.arange(len(labels))
        np.minimum.at(parents, high, low)
        while not np.array_equal(parents, above := parents[parents]):
            parents = above
        labels = parents[labels]


def label_groups(groups: Groups) -> Groups:
    """Return the smallest position in the group of each sample, int64 (N,)."""
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return first[inverse].astype(np.int64)


def merge_groups(first: Groups, second: Groups) -> Groups:
    """Return the finest groups that separate no samples that are in one group of `first` or of `second`."""
    labels = label_groups(first)
    return join_pairs(labels, np.stack([np.arange(len(labels)), label_groups(second)], axis=1))


def has_groups(groups: Groups) -> bool:
    """Return whether any group has more than one sample."""
    return len(np.unique(groups)) < len(groups)


def number_groups(names: Sequence[str | None]) -> Groups:
    """Return a number for each name, int64 (N,). Samples without a name get different numbers."""
    numbers: dict[str, int] = {}
    return np.asarray(
        [position if name is None else numbers.setdefault(name, position) for position, name in enumerate(names)],
        np.int64,
    )


def summarize_groups(groups: Groups) -> dict[str, int]:
    """Return the number of groups and the size of the largest one for the import report."""
    sizes = np.unique(groups, return_counts=True)[1]
    return {"num_groups": len(sizes), "largest": int(sizes.max())}


def find_shared_group(groups: Mapping[str, Groups]) -> tuple[int, str, str] | None:
    """Return a group that is in two splits and the names of the splits, or None if there is none."""
    splits: dict[int, str] = {}
    for split, numbers in groups.items():
        for number in np.unique(numbers).tolist():
            if number in splits:
                return number, splits[number], split
            splits[number] = split
    return None
