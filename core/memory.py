"""Finds out how much memory this process may use, and returns freed memory to the operating system."""

import ctypes
import os
from functools import cache
from pathlib import Path


@cache
def _find_malloc_trim() -> "ctypes._NamedFuncPointer | None":
    return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc only


def release_free_memory() -> None:
    """Return the free memory of all threads to the operating system.

    glibc keeps freed blocks of up to 32 MiB for each thread. After a large image, that is several hundred MiB.
    """
    if malloc_trim := _find_malloc_trim():
        malloc_trim(0)


def get_available_bytes(root: Path = Path("/")) -> int:
    """Return the memory of the machine in bytes, or the memory limit of this process's cgroups if it is lower."""
    limits = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for path in _list_limit_files(root):
        text = path.read_text().strip() if path.is_file() else ""
        if text.isdecimal():  # cgroup v2 has "max" if there is no limit
            limits.append(int(text))
    return min(limits)


def _list_limit_files(root: Path) -> list[Path]:
    """Return the files of cgroups v2 and v1 that can limit this process: its group and all groups that contain it.

    In a container, the group's own path is often not mounted, and its files are at the root of the mount.
    """
    groups = root / "proc" / "self" / "cgroup"
    files = []
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            folder, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            folder, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        group = Path(path.lstrip("/"))
        files += [folder / parent / name for parent in (group, *group.parents)]
    return files
