"""The limits of one example, and the area of shared memory in which a child reports what it runs."""

import mmap
import os
import resource
import signal
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MAX_INPUT_BYTES = 2**17
# Number of examples, number of the running example or 0, length of its input, CPU nanoseconds of the process.
_HEADER = struct.Struct("<QQQQ")


class Budget(NamedTuple):
    """What one example may use.

    Attributes:
        cpu_s: CPU seconds of all threads. A child that exceeds them is ended by SIGPROF.
        memory_bytes: bytes of address space in addition to what the child has before its first example.
        wall_s: seconds, for an example that waits instead of computing. The parent ends such a child.
    """

    cpu_s: float = 2.0
    memory_bytes: int = 512 * 2**20
    wall_s: float = 30.0


DEFAULT_BUDGET = Budget()


class StatusBoard:
    """A shared file in which a child writes its input before it runs, so that the parent has it if the child dies."""

    def __init__(self, path: Path) -> None:
        size = _HEADER.size + MAX_INPUT_BYTES
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.truncate(descriptor, size)
            self._map = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)

    @property
    def num_examples(self) -> int:
        """The number of examples that have ended."""
        return self._read_header()[0]

    @property
    def running(self) -> int:
        """The number of the running example, counted from 1; 0 between examples."""
        return self._read_header()[1]

    @property
    def cpu_s(self) -> float:
        """The CPU seconds of the child until the last example that has ended."""
        return self._read_header()[3] / 1e9

    def read_input(self) -> bytes | None:
        """Return the input of the running example, or None between examples."""
        _, running, length, _ = self._read_header()
        return bytes(self._map[_HEADER.size : _HEADER.size + length]) if running else None

    @contextmanager
    def show_example(self, body: bytes) -> Iterator[None]:
        """Show the input of an example while it runs, and count it."""
        num_examples, _, _, cpu_ns = self._read_header()
        self._map[_HEADER.size : _HEADER.size + len(body)] = body
        _HEADER.pack_into(self._map, 0, num_examples, num_examples + 1, len(body), cpu_ns)
        try:
            yield
        finally:
            _HEADER.pack_into(self._map, 0, num_examples + 1, 0, 0, time.process_time_ns())

    def close(self) -> None:
        self._map.close()

    def _read_header(self) -> tuple[int, int, int, int]:
        return _HEADER.unpack_from(self._map)


def limit_memory(budget: Budget) -> None:
    """Limit the address space of this process to its current size and the memory of the budget."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * os.sysconf("SC_PAGE_SIZE") + budget.memory_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextmanager
def limit_cpu(budget: Budget) -> Iterator[None]:
    """End this process with SIGPROF if the `with` block uses more CPU time than the budget.

    The timer counts the CPU time of all threads, also in C code that does not return to the interpreter. RLIMIT_CPU
    is the second line: it counts whole seconds.
    """
    used_s = resource.getrusage(resource.RUSAGE_SELF)
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used_s.ru_utime + used_s.ru_stime + budget.cpu_s) + 2, hard))
    signal.setitimer(signal.ITIMER_PROF, budget.cpu_s)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
