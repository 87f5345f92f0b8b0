"""Starts trainers by forking a process that has imported torch, so that a job starts without delay."""

import os
import socket
import struct
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from typing import IO

import structlog

from core.python_process import PYTHON
from worker.control.child_process import ForkedProcess, SpawnedProcess, read_tail
from worker.control.trainer_process import TrainerProcess
from worker.fork_protocol import FORK, PROCESS_ID

log = structlog.get_logger()
_RESPONSE_TIMEOUT_S = 300.0  # the first response waits for the imports, on a busy machine for minutes
_EXIT_WAIT_S = 1.0


class ZygoteExited(OSError):
    """The zygote has ended, so that it forks no trainer."""


class TrainerZygote:
    """Forks trainers. It has the interface of `Standby`, but needs no trainer in reserve: a fork takes 20 ms.

    The kernel kills a process when the thread that started it ends, so the thread that starts the zygote runs until
    this object is closed. The kernel also kills all trainers when the zygote ends.
    """

    def __init__(self, environment: Mapping[str, str] | None = None) -> None:
        self._environment = environment
        self._condition = threading.Condition()
        self._process: SpawnedProcess | None = None
        self._socket: socket.socket | None = None
        self._stderr: IO[bytes] | None = None
        self._error: OSError | None = None
        self._is_requested = True
        self._is_closed = False
        self._fork_mutex = threading.Lock()
        self._thread = threading.Thread(target=self._run_thread, name="zygote", daemon=True)

    def start(self) -> None:
        """Start the zygote in the background. It accepts requests as soon as it has imported torch."""
        self._thread.start()

    def take(self) -> TrainerProcess:
        """Fork a trainer and return it. Waits for the zygote, and starts it again once if it has ended.

        Raises:
            OSError: no process can be started, or the zygote ends again.
        """
        with self._fork_mutex:
            try:
                return self._fork_trainer()
            except ZygoteExited as error:
                log.warning("zygote.exited", error=str(error))
                return self._fork_trainer()

    def replenish(self) -> None:
        """Do nothing: no trainer waits in reserve."""

    def release(self) -> None:
        """Do nothing: no trainer waits in reserve."""

    def close(self) -> None:
        """Stop the zygote. Call this after all trainers have ended, because it kills them too."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if self._process is not None:
            self._discard()

    def _fork_trainer(self) -> TrainerProcess:
        requests = self._get_socket()
        try:
            return TrainerProcess(partial(_fork, requests))
        except (ConnectionError, TimeoutError, struct.error) as error:
            status, text = self._discard()
            raise ZygoteExited(f"The process that starts trainers exited with status {status}. {text}") from error

    def _get_socket(self) -> socket.socket:
        with self._condition:
            while self._socket is None:
                if self._is_closed:
                    raise OSError("The worker is stopping.")
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                self._is_requested = True
                self._condition.notify_all()
                self._condition.wait()
            return self._socket

    def _discard(self) -> tuple[int, str]:
        """Close the connection to the zygote, which ends it. Return its exit status and the end of its stderr."""
        with self._condition:
            process, connection, stderr = self._process, self._socket, self._stderr
            self._process = self._socket = self._stderr = None
        assert process is not None and connection is not None and stderr is not None  # noqa: S101, PT018 - set together
        connection.close()
        status = process.end(_EXIT_WAIT_S)
        with stderr:
            return status, read_tail(stderr)

    def _run_thread(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_closed or (self._is_requested and self._socket is None))
                if self._is_closed:
                    return
                self._is_requested = False
                try:
                    self._start_process()
                except Exception as error:
                    log.exception("zygote.start_failed")
                    self._error = error if isinstance(error, OSError) else OSError(str(error))
                self._condition.notify_all()

    def _start_process(self) -> None:
        with ExitStack() as failed:
            connection, remote = socket.socketpair()
            failed.enter_context(connection)
            connection.settimeout(_RESPONSE_TIMEOUT_S)
            stderr: IO[bytes] = failed.enter_context(tempfile.TemporaryFile())
            with remote:
                fd = remote.fileno()
                self._process = SpawnedProcess(
                    [*PYTHON, "-m", "worker.trainer.zygote", str(fd)],
                    self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=[fd],
                )
            failed.pop_all()  # closed in `_discard`
        self._socket, self._stderr = connection, stderr


def _fork(requests: socket.socket, *fds: int) -> ForkedProcess:
    """Request a trainer with these file descriptors as stdin, stdout and stderr.

    Raises:
        ConnectionError: the zygote has ended.
        TimeoutError: the zygote does not respond.
        OSError: the zygote cannot fork.
        struct.error: the zygote ended before it responded.
    """
    control, remote = socket.socketpair()
    try:
        with remote:
            socket.send_fds(requests, [FORK], [*fds, remote.fileno()])
            response = requests.recv(PROCESS_ID.size)
        return ForkedProcess(_parse_process_id(response), control)
    except BaseException:
        control.close()
        raise


def _parse_process_id(response: bytes) -> int:
    (pid,) = PROCESS_ID.unpack(response)
    if pid < 0:
        raise OSError(-pid, f"No trainer can be started: {os.strerror(-pid)}")
    return int(pid)
