"""Starts, waits for and signals the processes of a test. They end with the test run."""

import ctypes
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Let the kernel kill this child process when the test run ends. For `preexec_fn`."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process: "subprocess.Popen[Any]", how: signal.Signals = signal.SIGTERM, timeout_s: float = 20.0) -> int:
    """Send a signal, kill the process after the timeout, and return its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(condition: Callable[[], T | None], what: str, timeout_s: float = 60.0) -> T:
    """Wait until `condition` returns a true value and return it.

    Raises:
        TimeoutError: the timeout passed. It protects against hanging; tests do not assert durations with it.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.02)
    raise TimeoutError(f"waited {timeout_s:g} s for {what}")


@contextmanager
def freeze_processes(*pids: int) -> Iterator[None]:
    """Suspend the processes while the context is open. They may end meanwhile."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def freeze(pid: int, database: Path) -> None:
    """Suspend a process while it does not hold SQLite's write lock, so that no other process waits for it.

    Args:
        pid: the id of a process that writes to the database.
        database: the SQLite file. If it is missing, the lock is not checked.

    Raises:
        TimeoutError: the process held the lock at every check.
    """

    def freeze_without_lock() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if not database.exists() or _is_writable(database):
            return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
        return False

    wait_for(freeze_without_lock, "a moment without the write lock")


def _is_writable(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True


def is_alive(pid: int) -> bool:
    """Return whether a process runs. A zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - a single line of a virtual file
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def read_cpu_s(pid: int, *, with_ended_children: bool = False) -> float:
    """Return the CPU seconds of a process, with its ended children if asked. Raises OSError if it has ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = map(int, fields[11 : 15 if with_ended_children else 13])  # utime, stime, cutime, cstime
    return sum(ticks) / os.sysconf("SC_CLK_TCK")


def list_children(pid: int) -> list[int]:
    """Return the ids of the children of a process, without zombies."""
    children = []
    for folder in Path("/proc").iterdir():
        try:
            state, parent = (folder / "stat").read_text().rpartition(")")[2].split()[:2]
        except (OSError, ValueError):  # not a process, or the process ended meanwhile
            continue
        if int(parent) == pid and state not in "ZX":
            children.append(int(folder.name))
    return sorted(children)


def read_command(pid: int) -> bytes:
    """Return the command line of a process; empty if it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""
