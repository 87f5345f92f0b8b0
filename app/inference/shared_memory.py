"""Shared memory of an API process and the inference process. It avoids copying samples between the processes.

The memory is an anonymous file, so the kernel frees it when both processes have ended.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MIN_BLOCK_BYTES = 4096  # large enough for an RGB image of 32 x 32 pixels


class Block(NamedTuple):
    """A range of the shared memory."""

    offset: int
    num_bytes: int


class SharedMemoryFull(Exception):
    """The shared-memory pool has no free block of the requested size."""


class SharedMemoryPool:
    """Allocates blocks whose sizes are powers of two, and reuses freed blocks.

    The kernel allocates a page when it is first used, so the size of the pool may exceed the machine's memory.
    """

    def __init__(self, num_bytes: int) -> None:
        self.fd = _create_anonymous_file(num_bytes)
        self._pages = mmap.mmap(self.fd, num_bytes)
        self.memory: NDArray[np.uint8] = np.frombuffer(self._pages, np.uint8)
        self._num_bytes = num_bytes
        self._unused_offset = 0  # no block has been allocated at or after this offset
        self._free_offsets: dict[int, list[int]] = {}

    def allocate(self, num_bytes: int) -> Block:
        """Return a block of at least `num_bytes` bytes.

        Raises:
            SharedMemoryFull: no free block is large enough.
        """
        size = MIN_BLOCK_BYTES if num_bytes <= MIN_BLOCK_BYTES else 1 << (num_bytes - 1).bit_length()
        offsets = self._free_offsets.get(size)
        if offsets:
            return Block(offsets.pop(), size)
        if self._unused_offset + size > self._num_bytes:
            return self._allocate_larger(size)
        offset, self._unused_offset = self._unused_offset, self._unused_offset + size
        return Block(offset, size)

    def free(self, block: Block) -> None:
        """Free a block, so that it can be reused."""
        self._free_offsets.setdefault(block.num_bytes, []).append(block.offset)

    def close(self) -> None:
        """Release the memory. The memory remains mapped until all arrays that refer to it are deleted."""
        self.memory = np.empty(0, np.uint8)
        try:
            self._pages.close()
        except BufferError:  # an array still refers to the memory, which therefore stays mapped
            pass
        finally:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def _allocate_larger(self, min_bytes: int) -> Block:
        for size in sorted(self._free_offsets):
            if size > min_bytes and self._free_offsets[size]:
                return Block(self._free_offsets[size].pop(), size)
        raise SharedMemoryFull


def map_shared_memory(fd: int) -> NDArray[np.uint8]:
    """Map the memory of a file descriptor that a different process sent, and close the descriptor."""
    try:
        return np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size), np.uint8)
    finally:
        os.close(fd)


def _create_anonymous_file(num_bytes: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("candela-pixels", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp()
        Path(path).unlink()
    os.ftruncate(fd, num_bytes)
    return fd
