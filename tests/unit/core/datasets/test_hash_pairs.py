"""Pairs of hashes that differ in few bits."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from core.datasets.hash_pairs import MAX_BITS, iter_near_pairs

SEEDS = st.integers(0, 2**32)


def collect_pairs(hashes: list[int]) -> set[tuple[int, int]]:
    arrays = list(iter_near_pairs(np.asarray(hashes, np.uint64)))
    return {(int(first), int(second)) for array in arrays for first, second in array}


def flip_bits(rng: np.random.Generator, value: int, count: int) -> int:
    for bit in rng.choice(64, count, replace=False).tolist():
        value ^= 1 << bit
    return value


@given(SEEDS)
def test_the_pairs_are_those_of_a_comparison_of_all_pairs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centers = [int(center) for center in rng.integers(0, 2**63, 3)]
    hashes = [flip_bits(rng, centers[place % 3], int(rng.integers(0, 5))) for place in range(15)]
    expected = {(i, j) for j in range(15) for i in range(j) if (hashes[i] ^ hashes[j]).bit_count() <= MAX_BITS}
    assert collect_pairs(hashes) == expected


def test_equal_hashes_are_joined_by_their_neighbors() -> None:
    pairs = collect_pairs([5] * 200)
    assert {(place, place + 1) for place in range(199)} <= pairs
    assert len(pairs) < 200 * 32 + 1  # far fewer than the 19,900 pairs


def test_few_hashes_have_few_pairs() -> None:
    assert collect_pairs([]) == set()
    assert collect_pairs([1]) == set()
    assert collect_pairs([0, 2**64 - 1]) == set()
