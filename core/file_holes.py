"""Frees parts of a file on disk that are not read any more."""

import ctypes
from collections.abc import Callable
from functools import cache

# Source: fallocate(2) and linux/falloc.h.
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Free the disk space of the bytes from `start` to `end`, which are zeros afterwards. The size does not change.

    Return False if the file system or the operating system refuses this. The bytes are then unchanged.
    """
    fallocate = _find_fallocate()
    return fallocate is not None and fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, start, end - start) == 0


@cache
def _find_fallocate() -> Callable[[int, int, int, int], int] | None:
    """Return the function of the C library, or None if it has none."""
    try:
        fallocate = ctypes.CDLL(None).fallocate
    except AttributeError:  # not Linux
        return None
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return fallocate
