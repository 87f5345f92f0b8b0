"""The processes of trainers: how the worker sees that one ends, and reads its exit status."""

import os
import select
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, Protocol

from core.child_environment import build_child_environment
from core.parent_death import die_with_parent
from core.python_process import ROOT, set_import_path
from worker.fork_protocol import EXIT_STATUS

_STATUS_TIMEOUT_S = 10.0
_TAIL_BYTES = 4096


class ChildProcess(Protocol):
    """A process that leads a session. Its process id stays reserved until `wait` returns."""

    pid: int

    def has_exited(self) -> bool:
        """Return whether the process has exited. It remains a zombie until `wait` is called."""
        ...

    def kill(self) -> None:
        """Kill the process and its children, also if it has exited. Call this only before `wait`."""
        ...

    def wait(self) -> int:
        """Wait until the process has exited, release its process id, and return its exit status."""
        ...


class SpawnedProcess:
    """A process that runs a command. The kernel kills it when the thread that started it ends.

    Without an `environment`, it inherits the variables that `core.child_environment` selects.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None,
        *,
        stdin: IO[bytes] | int,
        stdout: IO[bytes] | int,
        stderr: IO[bytes] | int,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self._process = subprocess.Popen(  # noqa: S603 - no client can change the command
            die_with_parent(command),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=set_import_path(build_child_environment(os.environ) if environment is None else environment),
            cwd=ROOT,  # a trainer must not depend on the worker's folder
            start_new_session=True,
            pass_fds=pass_fds,
        )
        self.pid = self._process.pid

    def has_exited(self) -> bool:
        """Return whether the process has exited."""
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None

    def kill(self) -> None:
        """Kill the process and its children."""
        _kill_group(self.pid)

    def wait(self) -> int:
        """Wait until the process has exited, and return its exit status."""
        return self._process.wait()

    def end(self, timeout_s: float) -> int:
        """Wait until the process has exited, kill it after a timeout, and return its exit status."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            return self._process.wait()


class ForkedProcess:
    """A process that the zygote has forked.

    The zygote sends the exit status through `control`, and keeps the zombie, and with it the process id, until the
    worker closes its end. If the zygote ends, the kernel kills the process.
    """

    def __init__(self, pid: int, control: socket.socket) -> None:
        self.pid = pid
        self._control = control
        control.settimeout(_STATUS_TIMEOUT_S)
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:  # the zygote, and with it the process, has been killed
            self._pidfd = -1

    def has_exited(self) -> bool:
        """Return whether the process has exited."""
        return self._pidfd < 0 or bool(select.select([self._pidfd], [], [], 0)[0])

    def kill(self) -> None:
        """Kill the process and its children. If the zygote has ended, the kernel has killed the process."""
        is_readable = bool(select.select([self._control], [], [], 0)[0])
        if is_readable and not self._control.recv(EXIT_STATUS.size, socket.MSG_PEEK):
            return  # the process id is not reserved any more, and may be that of another process
        _kill_group(self.pid)

    def wait(self) -> int:
        """Wait until the process has exited, and return its exit status. It is -9 if the zygote was killed."""
        if self._pidfd >= 0:
            select.select([self._pidfd], [], [])
            os.close(self._pidfd)
            self._pidfd = -1
        status = b""
        with suppress(ConnectionError, TimeoutError):  # the timeout is that of a zygote that does not respond
            status = self._control.recv(EXIT_STATUS.size)
        self._control.close()
        return int(EXIT_STATUS.unpack(status)[0]) if len(status) == EXIT_STATUS.size else -signal.SIGKILL


def read_tail(file: IO[bytes]) -> str:
    """Return the last 4 KiB of a file as text."""
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - _TAIL_BYTES))
    return file.read().decode("utf-8", "replace").strip()


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)
