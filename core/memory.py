"""Returns freed memory to the operating system."""

import ctypes
from functools import cache


@cache
def _find_malloc_trim() -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only


def release_free_memory() -> None:
    """Return the free memory of all threads to the operating system.

    glibc keeps freed blocks of up to 32 MiB for each thread. After a large image, that is several hundred MiB.
    """
    if malloc_trim := _find_malloc_trim():
        malloc_trim(0)
