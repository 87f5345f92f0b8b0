"""Finds pairs of hashes that differ in few bits, without comparing all pairs.

The 64 bits are divided into six blocks. Hashes that differ in at most four bits are equal in at least two blocks, so
that sorting by each of the 15 pairs of blocks brings them together. Source: Norouzi, Punjani and Fleet, "Fast Exact
Search in Hamming Space with Multi-Index Hashing", 2014.
"""

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray

from core.datasets.perceptual_hash import Hashes, count_different_bits

MAX_BITS = 4  # hashes of near-equal images differ in at most this many bits
_NUM_BLOCKS = MAX_BITS + 2
_MAX_NEIGHBORS = (
    32  # with each of which a hash is compared per pair of blocks; more are equal in a block only by chance
)

Pairs = NDArray[np.int64]


def iter_near_pairs(hashes: Hashes) -> Iterator[Pairs]:
    """Yield arrays (M, 2) of positions of hashes that differ in at most `MAX_BITS` bits.

    A pair may be in several arrays. If more than 32 hashes are equal in two blocks, a hash is compared only with its
    next 32 neighbors in the order of the hashes.
    """
    for mask in _list_masks():
        keys = hashes & mask
        order = np.lexsort((hashes, keys))
        parts = list(_iter_neighbors(keys[order], hashes[order]))
        if parts:
            yield np.sort(order[np.concatenate(parts)], axis=1).astype(np.int64)


def _iter_neighbors(sorted_keys: Hashes, sorted_hashes: Hashes) -> Iterator[Pairs]:
    """Yield arrays (M, 2) of positions with equal keys and with hashes that differ in at most `MAX_BITS` bits."""
    for offset in range(1, min(_MAX_NEIGHBORS, len(sorted_keys) - 1) + 1):
        has_equal_key = sorted_keys[offset:] == sorted_keys[:-offset]
        if not has_equal_key.any():
            return
        distances = count_different_bits(sorted_hashes[offset:], sorted_hashes[:-offset])
        places = np.flatnonzero(has_equal_key & (distances <= MAX_BITS))
        if len(places):
            yield np.stack([places, places + offset], axis=1)


def _list_masks() -> list[np.uint64]:
    """Return the bits of each pair of blocks."""
    edges = np.linspace(0, 64, _NUM_BLOCKS + 1).round().astype(int).tolist()
    blocks = [sum(1 << bit for bit in range(low, high)) for low, high in pairwise(edges)]
    return [np.uint64(first | second) for first, second in combinations(blocks, 2)]
