"""The processor cores and the memory that this process may use."""

import os
from pathlib import Path


def count_usable_cores() -> int:
    """Return the number of cores that this process may use. The machine can have more cores."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def get_memory_bytes(root: Path = Path("/")) -> int:
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
