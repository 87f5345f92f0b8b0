"""Selects held-out samples so that no group is divided, and the classes are balanced as well as possible.

Groups are visited in random order, like those of scikit-learn's `GroupShuffleSplit`. As in its `StratifiedGroupKFold`,
a group is taken if it brings the held-out samples of each class closer to their number.
"""

import numpy as np
from numpy.typing import NDArray

from core.datasets.sample_groups import Groups

_MAX_CORRECTIONS = 20  # groups that are added at the end to reach the number of samples

Index = NDArray[np.int64]


class _GroupedSamples:
    """The number of samples of each class in each group, and the samples that are still missing in the holdout."""

    def __init__(self, groups: Groups, classes: Index, quotas: Index) -> None:
        _, self.group_codes = np.unique(groups, return_inverse=True)
        num_groups, num_classes = int(self.group_codes.max()) + 1, len(quotas)
        codes, counts = np.unique(self.group_codes * num_classes + classes, return_counts=True)
        self.sizes: list[int] = np.bincount(self.group_codes).tolist()
        self.counts_by_group: list[list[tuple[int, int]]] = [[] for _ in range(num_groups)]
        for code, count in zip(codes.tolist(), counts.tolist(), strict=True):
            self.counts_by_group[code // num_classes].append((code % num_classes, count))
        self.num_training: list[int] = np.bincount(classes, minlength=num_classes).tolist()
        self.num_missing: list[int] = quotas.tolist()
        self.num_open = int(quotas.sum())
        self.selected = np.zeros(num_groups, bool)

    def can_select(self, group: int) -> bool:
        """Return whether every class keeps a training sample without the group."""
        return not self.selected[group] and all(
            self.num_training[label] > count for label, count in self.counts_by_group[group]
        )

    def compute_change(self, group: int) -> int:
        """Return by how much the group changes the distance of the class counts to their quotas."""
        return sum(
            abs(self.num_missing[label] - count) - abs(self.num_missing[label])
            for label, count in self.counts_by_group[group]
        )

    def select(self, group: int) -> None:
        self.selected[group] = True
        self.num_open -= self.sizes[group]
        for label, count in self.counts_by_group[group]:
            self.num_missing[label] -= count
            self.num_training[label] -= count


def select_group_holdout(groups: Groups, classes: Index, quotas: Index, rng: np.random.Generator) -> Index | None:
    """Return the sorted indices of the samples to hold out, or None if no group can be held out.

    Every class keeps at least one sample, which is a reason not to hold out a group. The number of samples is as close
    to the sum of `quotas` as the sizes of the groups allow.

    Args:
        groups: int64 (N,), the number of the group of each sample.
        classes: int64 (N,), the class of each sample, 0..K-1.
        quotas: int64 (K,), the number of samples of each class to hold out.
        rng: the source of the random order of the groups.
    """
    samples = _GroupedSamples(groups, classes, quotas)
    order: list[int] = rng.permutation(len(samples.sizes)).tolist()
    for group in order:
        if samples.num_open == 0:
            break
        fits = samples.sizes[group] <= samples.num_open
        if fits and samples.compute_change(group) < 0 and samples.can_select(group):
            samples.select(group)
    _correct_size(samples, order)
    if not samples.selected.any():
        return None
    return np.flatnonzero(samples.selected[samples.group_codes]).astype(np.int64)


def _correct_size(samples: _GroupedSamples, order: list[int]) -> None:
    """Add groups while this brings the number of samples closer to the requested number."""
    for _ in range(_MAX_CORRECTIONS):
        missing = samples.num_open
        candidates = [
            (abs(missing - samples.sizes[group]), samples.compute_change(group), place)
            for place, group in enumerate(order)
            if missing > 0
            and (abs(missing - samples.sizes[group]) < missing or not samples.selected.any())
            and samples.can_select(group)
        ]
        if not candidates:
            return
        samples.select(order[min(candidates)[2]])
