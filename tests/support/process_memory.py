"""Measures the memory of the processes of a service."""

import re
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

_HTTP_PROCESS = "candela.serve"


class Memory(NamedTuple):
    """The memory of a service in MiB.

    Attributes:
        total: the proportional set size of all processes, in which shared pages count once.
        http: the resident set size of the HTTP process.
        http_peak: the highest resident set size of the HTTP process since `reset_peak`.
    """

    total: float
    http: float
    http_peak: float


def list_processes(pid: int) -> list[int]:
    """Return a process and its living descendants."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):  # the process ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family = {pid}
    while new := {child for child, parent in parents.items() if parent in family} - family:
        family |= new
    return sorted(family)


def find_http_process(pid: int) -> int:
    """Return the process id of the HTTP process of a service."""
    for child in list_processes(pid):
        with suppress(OSError):
            if _HTTP_PROCESS in Path(f"/proc/{child}/cmdline").read_bytes().decode().split("\0"):
                return child
    raise ProcessLookupError(f"the service {pid} has no HTTP process")


def reset_peak(pid: int) -> None:
    """Start a new measurement of the peak of the HTTP process."""
    Path(f"/proc/{find_http_process(pid)}/clear_refs").write_text("5")


def measure_memory(pid: int) -> Memory:
    """Return the memory of a service whose main process is `pid`."""
    total = sum(_read_kib(child, "smaps_rollup", "Pss") for child in list_processes(pid))
    http = find_http_process(pid)
    rss, peak = (_read_kib(http, "status", name) for name in ("VmRSS", "VmHWM"))
    return Memory(total / 1024, rss / 1024, peak / 1024)


def _read_kib(pid: int, file: str, name: str) -> int:
    try:
        match = re.search(rf"^{name}:\s+(\d+) kB$", Path(f"/proc/{pid}/{file}").read_text(), re.MULTILINE)
    except OSError:  # the process ended meanwhile
        return 0
    return int(match[1]) if match else 0
