"""The shared-memory pool: allocation of blocks, and memory that two processes see."""

import itertools
import os

import pytest

from app.inference.shared_memory import MIN_BLOCK_BYTES, SharedMemoryFull, SharedMemoryPool, map_shared_memory


def test_blocks_do_not_overlap_and_are_reused() -> None:
    pool = SharedMemoryPool(8 * MIN_BLOCK_BYTES)
    blocks = [pool.allocate(size) for size in (1, MIN_BLOCK_BYTES, MIN_BLOCK_BYTES + 1, 3 * MIN_BLOCK_BYTES)]
    spans = sorted((block.offset, block.offset + block.num_bytes) for block in blocks)
    assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))
    with pytest.raises(SharedMemoryFull):
        pool.allocate(1)
    pool.free(blocks[3])
    assert pool.allocate(2 * MIN_BLOCK_BYTES + 1) == blocks[3]
    pool.free(blocks[3])
    assert pool.allocate(1).offset == blocks[3].offset
    pool.close()


def test_both_sides_see_the_same_memory() -> None:
    pool = SharedMemoryPool(MIN_BLOCK_BYTES)
    other = map_shared_memory(os.dup(pool.fd))
    pool.memory[:3] = (1, 2, 3)
    assert other[:3].tolist() == [1, 2, 3]
    pool.close()
    assert other[2] == 3
