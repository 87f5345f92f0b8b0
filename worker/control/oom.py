"""Counts the processes that the kernel's OOM killer ended."""

from contextlib import suppress
from pathlib import Path

_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))


def count_oom_kills() -> int:
    """Return the number of OOM-killed processes of this control group, or 0 if the kernel provides no counter."""
    for path in _COUNTERS:
        with suppress(OSError, ValueError):
            for line in path.read_text().splitlines():
                name, _, count = line.partition(" ")
                if name == "oom_kill":
                    return int(count)
    return 0
