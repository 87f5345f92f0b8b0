"""Frees parts of a file on disk that are not read any more."""

import ctypes
import errno
import os

# Source: fallocate(2) and linux/falloc.h.
_KEEP_SIZE, _PUNCH_HOLE = 0x01, 0x02
_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL}


def punch_hole(fd: int, start: int, end: int) -> bool:
    """Free the disk space of the bytes from `start` to `end`, which are zeros afterwards. The size does not change.

    Return False if the file system or the operating system does not support this.

    Raises:
        OSError: the file cannot be written.
    """
    try:
        fallocate = ctypes.CDLL(None, use_errno=True).fallocate
    except AttributeError:  # not Linux
        return False
    fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    if fallocate(fd, _KEEP_SIZE | _PUNCH_HOLE, start, end - start) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))
