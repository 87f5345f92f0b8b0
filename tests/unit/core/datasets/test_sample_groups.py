"""Groups of samples: joining, merging and numbering."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.sample_groups import (
    find_shared_group,
    has_groups,
    join_pairs,
    label_groups,
    merge_groups,
    number_groups,
    summarize_groups,
)

PAIRS = st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=30)
NUMBERS = st.lists(st.integers(0, 6), min_size=12, max_size=12)


def find_components(num_samples: int, pairs: list[tuple[int, int]]) -> list[int]:
    """Return the smallest position that can be reached from each sample, by repeated relabelling."""
    labels = list(range(num_samples))
    for _ in range(num_samples):
        for first, second in pairs:
            labels[first] = labels[second] = min(labels[first], labels[second])
    return labels


@given(PAIRS)
def test_joined_pairs_are_the_connected_components(pairs: list[tuple[int, int]]) -> None:
    joined = join_pairs(np.arange(20), np.asarray(pairs, np.int64).reshape(-1, 2))
    assert joined.tolist() == find_components(20, pairs)


@given(NUMBERS, NUMBERS)
def test_merged_groups_divide_neither_of_the_groups(first: list[int], second: list[int]) -> None:
    merged = merge_groups(np.asarray(first), np.asarray(second)).tolist()
    pairs = [(i, j) for i in range(12) for j in range(12) if first[i] == first[j] or second[i] == second[j]]
    assert merged == find_components(12, pairs)


def test_labels_are_the_first_positions() -> None:
    assert label_groups(np.asarray([7, 3, 7, 5, 3])).tolist() == [0, 1, 0, 3, 1]


def test_samples_without_a_name_are_in_no_group() -> None:
    numbers = number_groups(["b", None, "a", "b", None])
    assert numbers.tolist() == [0, 1, 2, 0, 4]
    assert has_groups(numbers)
    assert not has_groups(number_groups([None, "a", None]))
    assert summarize_groups(numbers) == {"num_groups": 4, "largest": 2}


def test_a_group_in_two_splits_is_found() -> None:
    splits = {"train": np.asarray([0, 1]), "valid": np.asarray([2, 2]), "test": np.asarray([1])}
    assert find_shared_group(splits) == (1, "train", "test")
    assert find_shared_group({"train": np.asarray([0, 0]), "test": np.asarray([1])}) is None
