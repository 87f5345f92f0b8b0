"""Processes of a test's own: they die with the test run, and are signalled by pid alone."""

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
    """To be run in a child before it starts: the kernel kills it when the test run ends, however it ends."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def end(process: "subprocess.Popen[Any]", how: signal.Signals = signal.SIGTERM, patience_s: float = 20.0) -> int:
    """Stop a process of ours, by force if it does not obey; its exit status."""
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(patience_s)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_for(ask: Callable[[], T | None], what: str, patience_s: float = 60.0) -> T:
    """The first answer that is true.

    Raises:
        TimeoutError: there was none; the patience is a bound against hanging, not something a test asserts.
    """
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        answer = ask()
        if answer:
            return answer
        time.sleep(0.02)
    raise TimeoutError(f"waited {patience_s:g} s for {what}")


@contextmanager
def standing_still(*pids: int) -> Iterator[None]:
    """Those processes do nothing meanwhile; one may be killed, or die with its parent."""
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


def freeze(pid: int, database: Path) -> None:
    """Stop a process in its tracks, at a moment when it does not hold SQLite's write lock, for which all would wait.

    Args:
        pid: of a process that writes.
        database: its SQLite file; nothing is looked at where there is none.

    Raises:
        TimeoutError: it holds the lock whenever it is looked at.
    """

    def is_frozen_without_the_lock() -> bool:
        os.kill(pid, signal.SIGSTOP)
        if not database.exists() or _can_be_written(database):
            return True
        os.kill(pid, signal.SIGCONT)
        time.sleep(0.1)
        return False

    wait_for(is_frozen_without_the_lock, "a moment without the write lock")


def _can_be_written(database: Path) -> bool:
    with closing(sqlite3.connect(database, timeout=1.0, isolation_level=None)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError:
            return False
        return True


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123 - one line of a pseudo file
            return stat.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
