"""Freeing the blocks of a spool file whose images have been read."""

import random
from itertools import pairwise

import pytest

from core.datasets.archives import spool_blocks
from core.datasets.archives.spool_blocks import BLOCK_BYTES, SpoolBlocks


@pytest.fixture
def holes(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """The ranges that were freed."""
    holes: list[tuple[int, int]] = []

    def record(_fd: int, start: int, end: int) -> bool:
        holes.append((start, end))
        return True

    monkeypatch.setattr(spool_blocks, "punch_hole", record)
    return holes


@pytest.mark.parametrize("max_length", [100, 3 * BLOCK_BYTES])
@pytest.mark.parametrize("seed", range(5))
def test_only_blocks_of_read_images_are_freed_and_in_the_end_all(
    holes: list[tuple[int, int]], max_length: int, seed: int
) -> None:
    rng = random.Random(seed)
    bounds = [0]
    for _ in range(200):
        bounds.append(bounds[-1] + rng.randint(0, max_length))
    ranges = [(start, end - start) for start, end in pairwise(bounds)]
    rng.shuffle(ranges)
    ranges, ignored = ranges[:180], ranges[180:]
    blocks = SpoolBlocks(-1, ranges, bounds[-1])
    for number, (offset, length) in enumerate(ranges):
        before = len(holes)
        blocks.release(offset, length)
        for start, end in holes[before:]:
            unread = ranges[number + 1 :]
            assert not any(offset < end and start < offset + length for offset, length in unread)
    freed = {block for start, end in holes for block in range(start // BLOCK_BYTES, end // BLOCK_BYTES)}
    read = {
        block
        for offset, length in ranges
        for block in range(offset // BLOCK_BYTES, -(-(offset + length) // BLOCK_BYTES))
    }
    assert freed >= read
    assert sum(end - start for start, end in holes) == len(freed) * BLOCK_BYTES  # none twice
    assert len(ignored) == 20


def test_a_file_system_without_holes_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def refuse(_fd: int, start: int, _end: int) -> bool:
        calls.append(start)
        return False

    monkeypatch.setattr(spool_blocks, "punch_hole", refuse)
    blocks = SpoolBlocks(-1, [(0, BLOCK_BYTES), (BLOCK_BYTES, BLOCK_BYTES)], 2 * BLOCK_BYTES)
    blocks.release(0, BLOCK_BYTES)
    blocks.release(BLOCK_BYTES, BLOCK_BYTES)
    assert calls == [0]
