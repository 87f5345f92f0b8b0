"""Exchanges protocol messages with a trainer process over pipes."""

import os
import select
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import IO, Protocol

import structlog
from pydantic import ValidationError

from worker.control.child_process import ChildProcess, SpawnedProcess, read_tail
from worker.protocol import TRAINER_MESSAGES, RunFailed, Start, SupervisorMessage, TrainerMessage

log = structlog.get_logger()
_CHUNK_BYTES = 2**20
ProcessStarter = Callable[[int, int, int], ChildProcess]
"""Starts a process with the given file descriptors as its stdin, stdout and stderr."""


class TrainerExited(Exception):
    """Raised if the trainer closed its output pipe and therefore sends no more messages."""


class TrainerProcess:
    """A trainer process in a separate session. It ends when the worker process dies.

    Only the worker has the writing end of the trainer's stdin. If the worker dies, the pipe closes and the trainer
    exits. The kernel also kills the trainer when the *thread* that started the trainer ends. Therefore `Standby` and
    `TrainerZygote` start processes from one permanent thread.
    """

    def __init__(self, start_process: ProcessStarter) -> None:
        """Start a trainer.

        Raises:
            OSError: it cannot be started.
        """
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        stdin, self._stdin_fd = os.pipe()
        self._stdout_fd, stdout = os.pipe()
        try:
            self._process = start_process(stdin, stdout, self._stderr.fileno())
        except BaseException:
            os.close(self._stdin_fd)
            os.close(self._stdout_fd)
            self._stderr.close()
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        self._mutex = threading.Lock()
        self._partial_line = b""
        self._pending_lines: list[bytes] = []
        self._is_stdin_open = True
        self._status: int | None = None

    @classmethod
    def spawn(cls, command: Sequence[str], environment: Mapping[str, str] | None = None) -> "TrainerProcess":
        """Start a trainer as a new process that runs a command.

        Without an `environment`, the trainer inherits the variables that `core.child_environment` selects.
        """
        return cls(
            lambda stdin, stdout, stderr: SpawnedProcess(
                command, environment, stdin=stdin, stdout=stdout, stderr=stderr
            )
        )

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether the process is running. A dead process remains a zombie until `stop` is called."""
        if self._status is not None:
            return False
        return not self._process.has_exited()

    def send(self, message: SupervisorMessage) -> None:
        """Send a message. Drop it if the trainer is dead, or if the pipe is full and the message is not `Start`."""
        line = message.model_dump_json().encode() + b"\n"
        with self._mutex, suppress(BrokenPipeError, BlockingIOError):
            if not self._is_stdin_open:
                return
            # Only `Start` may block and be written in parts: a shorter message is written completely or not at all.
            os.set_blocking(self._stdin_fd, isinstance(message, Start))
            while line:
                line = line[os.write(self._stdin_fd, line) :]

    def receive(self, timeout_s: float) -> TrainerMessage | None:
        """Return the next message, or None if none arrives within the timeout.

        Raises:
            TrainerExited: the trainer closed its pipe.
        """
        if not self._pending_lines:
            readable, _, _ = select.select([self._stdout_fd], [], [], timeout_s)
            if not readable:
                return None
            chunk = os.read(self._stdout_fd, _CHUNK_BYTES)
            if not chunk:
                raise TrainerExited
            *self._pending_lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
        return _parse_message(self._pending_lines.pop(0)) if self._pending_lines else None

    def kill(self) -> None:
        """Kill the process and its children immediately. This method is thread-safe."""
        with self._mutex:
            if self._status is None:
                self._process.kill()

    def stop(self, timeout_s: float = 0.0) -> int:
        """Close stdin, wait up to `timeout_s` seconds for the process to exit, then kill its process group.

        Return the exit status, which is -9 if the process was killed.
        """
        if self._status is not None:
            return self._status
        with self._mutex:
            if self._is_stdin_open:
                os.close(self._stdin_fd)
                self._is_stdin_open = False
        deadline = time.monotonic() + timeout_s
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()
        with self._mutex:
            self._status = self._process.wait()
        os.close(self._stdout_fd)
        return self._status

    def read_stderr_tail(self) -> str:
        """Return the last 4 KiB of the process's stderr."""
        return read_tail(self._stderr)

    def close(self) -> None:
        """Delete the recorded stderr. Afterwards, `read_stderr_tail` must not be called."""
        self._stderr.close()


class TrainerSource(Protocol):
    """Starts trainers: `Standby` keeps some in reserve, and `TrainerZygote` forks them."""

    def take(self) -> TrainerProcess:
        """Return a trainer that waits for its start message.

        Raises:
            OSError: a trainer cannot be started.
        """
        ...

    def replenish(self) -> None:
        """Prepare the next trainers. Called when the taken trainer has started its job, to not delay the job."""
        ...

    def release(self) -> None:
        """Prepare the next trainers. Called when a taken trainer has ended, so that a slot is free."""
        ...


def _parse_message(line: bytes) -> TrainerMessage:
    try:
        return TRAINER_MESSAGES.validate_json(line)
    except ValidationError as error:
        log.warning("trainer.message_rejected", line=line[:500], error=str(error))
        return RunFailed(
            code="internal",
            message="The trainer sent a message that its supervisor cannot parse.",
            hint="Worker and trainer must have the same version: restart the worker.",
        )
