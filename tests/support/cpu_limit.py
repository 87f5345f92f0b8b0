"""Runs a function in a child process with a limit of CPU time and memory."""

import multiprocessing
import os
import resource
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
_FORK = multiprocessing.get_context("fork")


def run_with_limits(function: Callable[..., T], *args: Any, cpu_s: int = 2, new_bytes: int | None = None) -> T:
    """Return the result of a function, or raise its error.

    Args:
        function: runs in a child process; its result or error must be picklable.
        args: arguments of the function.
        cpu_s: seconds of CPU time after which the child is killed.
        new_bytes: the size of the address space that the function may add. Default: no limit.

    Raises:
        ChildProcessError: the child was killed, for example because it needed more CPU time.
    """
    receiver, sender = _FORK.Pipe(duplex=False)
    process = _FORK.Process(target=_run, args=(sender, function, args, cpu_s, new_bytes), daemon=True)
    process.start()
    sender.close()
    try:
        is_error, outcome = receiver.recv()
    except EOFError:
        process.join()
        raise ChildProcessError(f"the child ended with status {process.exitcode}") from None
    process.join()
    if is_error:
        raise outcome
    result: T = outcome
    return result


def _run(
    sender: Connection, function: Callable[..., Any], args: tuple[Any, ...], cpu_s: int, new_bytes: int | None
) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if new_bytes is not None:
        size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + new_bytes
        resource.setrlimit(resource.RLIMIT_AS, (size, size))
    try:
        sender.send((False, function(*args)))
    except BaseException as error:  # noqa: BLE001 - the parent raises it
        sender.send((True, error))
