"""A trainer process as its supervisor sees it: lines down, lines up, and an end that leaves nothing behind."""

import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO

import structlog
from pydantic import ValidationError

from core.parent_death import die_with_parent
from worker.protocol import UP, Down, Failed, Start, Up

log = structlog.get_logger()
_CHUNK = 2**20
_ROOT = Path(__file__).resolve().parents[2]
_TAIL_BYTES = 4096


class TrainerExited(Exception):
    """The trainer said its last word, or died: its end of the pipe is closed."""


class TrainerProcess:
    """A process in a session of its own, with the only writing end of its stdin: when we die, it hears that too.

    The kernel kills it when the *thread* that started it ends, hence `Standby`.
    """

    def __init__(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed in `end`
        self._process = subprocess.Popen(  # noqa: S603 - the command is ours
            die_with_parent(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            cwd=_ROOT,  # `-m` looks there first: no folder of the caller's can stand in for our packages
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        assert self._process.stdout is not None  # noqa: S101
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._mutex = threading.Lock()
        self._unread = b""
        self._lines: list[bytes] = []
        self._is_over = False

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it runs; a dead one keeps its process id until `end`."""
        if self._is_over:
            return False
        return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None

    def send(self, message: Down) -> None:
        """Say a line; one who is dead, or so stuck that its pipe is full, misses it."""
        line = message.model_dump_json().encode() + b"\n"
        with self._mutex, suppress(BrokenPipeError, BlockingIOError, ValueError):
            os.set_blocking(self._stdin.fileno(), isinstance(message, Start))  # short lines go whole or not at all
            self._stdin.write(line)

    def receive(self, timeout_s: float) -> Up | None:
        """The next message, or None if there is none in time.

        Raises:
            Ended: there will be none.
        """
        if not self._lines:
            readable, _, _ = select.select([self._stdout], [], [], timeout_s)
            if not readable:
                return None
            chunk = os.read(self._stdout.fileno(), _CHUNK)
            if not chunk:
                raise TrainerExited
            *self._lines, self._unread = (self._unread + chunk).split(b"\n")
        return _message(self._lines.pop(0)) if self._lines else None

    def kill(self) -> None:
        """End the process and whatever it started, at once. May be called from any thread, at any time."""
        with self._mutex:
            if not self._is_over:
                with suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)

    def stop(self, patience_s: float = 0.0) -> int:
        """Let the process end by itself for so long, then end its whole group; the exit status (-9: killed)."""
        with self._mutex, suppress(BrokenPipeError):
            self._stdin.close()
        deadline = time.monotonic() + patience_s
        while self.is_alive and time.monotonic() < deadline:
            time.sleep(0.01)
        self.kill()  # the process id is still the zombie's, so that no stranger's group is hit
        with self._mutex:
            status = self._process.wait()
            self._is_over = True
        self._stdout.close()
        return status

    def last_errors(self) -> str:
        """The end of what it wrote to stderr."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - _TAIL_BYTES))
        return self._errors.read().decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Close what `end` left open for `last_errors`."""
        self._errors.close()


def _message(line: bytes) -> Up:
    try:
        return UP.validate_json(line)
    except ValidationError as error:
        log.warning("trainer.not_understood", line=line[:500], error=str(error))
        return Failed(
            code="internal",
            message="The trainer said something that its supervisor does not understand.",
            hint="Worker and trainer must be of the same version: restart the worker.",
        )
