"""Selecting groups to hold out."""

import numpy as np

from core.datasets.group_holdout import select_group_holdout


def select(groups: list[int], classes: list[int], quotas: list[int], seed: int = 0) -> list[int] | None:
    rng = np.random.default_rng(seed)
    holdout = select_group_holdout(np.asarray(groups), np.asarray(classes), np.asarray(quotas), rng)
    return None if holdout is None else holdout.tolist()


def test_the_quota_of_each_class_is_met() -> None:
    groups, classes = [0, 0, 1, 1, 2, 2, 3, 3], [0, 0, 0, 0, 1, 1, 1, 1]
    for seed in range(5):
        holdout = select(groups, classes, [2, 2], seed)
        assert holdout is not None
        assert [classes[place] for place in holdout] == [0, 0, 1, 1]


def test_the_last_training_samples_of_a_class_are_kept() -> None:
    for seed in range(5):
        assert select([0, 0, 1, 1, 2, 2], [0, 1, 0, 0, 0, 0], [2, 1], seed) in ([2, 3], [4, 5], [2, 3, 4, 5])
    assert select([0, 0, 1, 1], [0, 0, 1, 1], [1, 1]) is None


def test_the_smallest_group_is_held_out_if_all_are_too_large() -> None:
    for seed in range(5):
        assert select([0] * 5 + [1] * 3 + [2] * 4, [0] * 12, [1], seed) == [5, 6, 7]


def test_the_order_is_random() -> None:
    groups = list(range(30))
    assert select(groups, [0] * 30, [3], 1) != select(groups, [0] * 30, [3], 2)
    assert select(groups, [0] * 30, [3], 1) == select(groups, [0] * 30, [3], 1)
