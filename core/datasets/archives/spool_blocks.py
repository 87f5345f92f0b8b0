"""Frees the disk space of a spool file block by block, while its images are read."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from core.file_holes import punch_hole

BLOCK_BYTES = 16 * 2**10


class SpoolBlocks:
    """Counts the unread images of each block of a spool file. A block without unread images is freed.

    Args:
        fd: the file descriptor of the spool file.
        ranges: the offset and the length of each image that will be read, once. The bytes of all other images stay.
        size: the size of the file in bytes.
    """

    def __init__(self, fd: int, ranges: Sequence[tuple[int, int]], size: int) -> None:
        self._fd = fd
        self._is_supported = True
        # Each image adds 1 from its first to its last block: the counts are the running sum of the changes.
        changes = np.zeros(size // BLOCK_BYTES + 2, np.int32)
        for offset, length in ranges:
            first, end = _get_blocks(offset, length)
            changes[first] += 1
            changes[end] -= 1
        self._num_unread: NDArray[np.int32] = np.cumsum(changes, dtype=np.int32)

    def release(self, offset: int, length: int) -> None:
        """Count an image as read, and free the blocks that no other image needs."""
        first, end = _get_blocks(offset, length)
        counts = self._num_unread[first:end]
        counts -= 1
        free = np.flatnonzero(counts == 0)
        if len(free) and self._is_supported:  # contiguous, because the inner blocks belong to this image only
            start, stop = (first + int(free[0])) * BLOCK_BYTES, (first + int(free[-1]) + 1) * BLOCK_BYTES
            self._is_supported = punch_hole(self._fd, start, stop)


def _get_blocks(offset: int, length: int) -> tuple[int, int]:
    """Return the first block of an image, and the block after its last one."""
    return offset // BLOCK_BYTES, (offset + max(1, length) - 1) // BLOCK_BYTES + 1
