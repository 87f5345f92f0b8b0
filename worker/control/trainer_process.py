"""Starts a trainer process and exchanges protocol messages with it over pipes."""

import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO

import structlog
from pydantic import ValidationError

from core.child_environment import build_child_environment
from core.parent_death import die_with_parent
from core.python_process import ROOT, set_import_path
from worker.protocol import TRAINER_MESSAGES, RunFailed, Start, SupervisorMessage, TrainerMessage

log = structlog.get_logger()
_CHUNK_BYTES = 2**20
_STDERR_TAIL_BYTES = 4096


class TrainerExited(Exception):
    """Raised if the trainer closed its output pipe and therefore sends no more messages."""


class TrainerProcess:
    """A trainer process in a separate session. It ends when the worker process dies.

    Only the worker has the writing end of the trainer's stdin. If the worker dies, the pipe closes and the trainer
    exits. The kernel also kills the trainer when the *thread* that started the trainer ends. Therefore `Standby` starts
    all trainers from one permanent thread.

    Without an `environment`, the trainer inherits the variables that `core.child_environment` selects.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._stderr: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `close`
        self._process = subprocess.Popen(  # noqa: S603 - no client can change the command
            die_with_parent(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            env=set_import_path(build_child_environment(os.environ) if environment is None else environment),
            cwd=ROOT,  # a trainer must not depend on the worker's folder
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - `stdin=PIPE` creates it
        assert self._process.stdout is not None  # noqa: S101 - `stdout=PIPE` creates it
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._mutex = threading.Lock()
        self._partial_line = b""
        self._pending_lines: list[bytes] = []
        self._is_reaped = False

    @property
    def pid(self) -> int:
        """Return the process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Return whether the process is running. A dead process remains a zombie until `stop` is called."""
        if self._is_reaped:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def send(self, message: SupervisorMessage) -> None:
        """Send a message. Drop it if the trainer is dead, or if the pipe is full and the message is not `Start`."""
        line = message.model_dump_json().encode() + b"\n"
        with self._mutex, suppress(BrokenPipeError, BlockingIOError, ValueError):
            os.set_blocking(
                self._stdin.fileno(), isinstance(message, Start)
            )  # only `Start` may block: shorter messages are written completely or not at all
            self._stdin.write(line)

    def receive(self, timeout_s: float) -> TrainerMessage | None:
        """Return the next message, or None if none arrives within the timeout.

        Raises:
            TrainerExited: the trainer closed its pipe.
        """
        if not self._pending_lines:
            readable, _, _ = select.select([self._stdout], [], [], timeout_s)
            if not readable:
                return None
            chunk = os.read(self._stdout.fileno(), _CHUNK_BYTES)
            if not chunk:
                raise TrainerExited
            *self._pending_lines, self._partial_line = (self._partial_line + chunk).split(b"\n")
        return _parse_message(self._pending_lines.pop(0)) if self._pending_lines else None

    def kill(self) -> None:
        """Kill the process and its children immediately. This method is thread-safe."""
        with self._mutex:
            if not self._is_reaped:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)

    def stop(self, timeout_s: float = 0.0) -> int:
        """Close stdin, wait up to `timeout_s` seconds for the process to exit, then kill its process group.

        Return the exit status, which is -9 if the process was killed.
        """
        with self._mutex, suppress(BrokenPipeError):
            self._stdin.close()
        deadline = time.monotonic() + timeout_s
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()  # safe even if the process exited: its zombie keeps the process id in use
        with self._mutex:
            status = self._process.wait()
            self._is_reaped = True
        self._stdout.close()
        return status

    def read_stderr_tail(self) -> str:
        """Return the last 4 KiB of the process's stderr."""
        size = self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, size - _STDERR_TAIL_BYTES))
        return self._stderr.read().decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Delete the recorded stderr. Afterwards, `read_stderr_tail` must not be called."""
        self._stderr.close()


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
