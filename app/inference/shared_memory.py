"""Memory that two processes see: pixels are written on one side and read on the other, and are never copied between.

It has no name and no file: it is gone when the last of the two is.
"""

import mmap
import os
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SMALLEST = 4096  # bytes; a picture of 32 x 32


class Block(NamedTuple):
    offset: int
    num_bytes: int


class SharedMemoryFull(Exception):
    """As many bytes as the arena has are waiting."""


class SharedMemoryPool:
    """Places of a power of two of bytes; one that is given back is given out again to the next of its size.

    Only what was used once takes memory, so the arena may be larger than the machine's.
    """

    def __init__(self, num_bytes: int) -> None:
        self.fd = _anonymous_file(num_bytes)
        self._pages = mmap.mmap(self.fd, num_bytes)
        self.memory: NDArray[np.uint8] = np.frombuffer(self._pages, np.uint8)
        self._num_bytes = num_bytes
        self._fresh = 0  # from here on nothing was ever given out
        self._free: dict[int, list[int]] = {}

    def allocate(self, num_bytes: int) -> Block:
        """A place for so many bytes.

        Raises:
            ArenaFull: there is none just now.
        """
        size = SMALLEST if num_bytes <= SMALLEST else 1 << (num_bytes - 1).bit_length()
        free = self._free.get(size)
        if free:
            return Block(free.pop(), size)
        if self._fresh + size > self._num_bytes:
            return self._larger(size)
        offset, self._fresh = self._fresh, self._fresh + size
        return Block(offset, size)

    def free(self, place: Block) -> None:
        self._free.setdefault(place.num_bytes, []).append(place.offset)

    def close(self) -> None:
        """Let the memory go; arrays that still look at it keep it until they are gone."""
        self.memory = np.empty(0, np.uint8)
        try:
            self._pages.close()
        except BufferError:  # an array still looks at it
            pass
        finally:
            if self.fd >= 0:
                os.close(self.fd)
                self.fd = -1

    def _larger(self, size: int) -> Block:
        for known in sorted(self._free):
            if known > size and self._free[known]:
                return Block(self._free[known].pop(), known)
        raise SharedMemoryFull


def attach(fd: int) -> NDArray[np.uint8]:
    """The memory behind a descriptor that another process sent; closes the descriptor."""
    try:
        return np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size), np.uint8)
    finally:
        os.close(fd)


def _anonymous_file(num_bytes: int) -> int:
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("candela-pixels", os.MFD_CLOEXEC)
    else:
        fd, path = tempfile.mkstemp()
        Path(path).unlink()
    os.ftruncate(fd, num_bytes)
    return fd
