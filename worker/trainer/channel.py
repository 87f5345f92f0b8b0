"""Connects the trainer to its supervisor through pipes, and ends the trainer if the supervisor is gone."""

import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable
from typing import Literal

from pydantic import ValidationError

from core.jobs import StopMode
from worker.protocol import SUPERVISOR_MESSAGES, LeaseRenewed, Log, Start, Stop, SupervisorMessage, TrainerMessage

EXIT_ORPHANED = 69  # EX_UNAVAILABLE of sysexits.h: the supervisor is gone or did not renew the lease
STDIN, STDOUT, STDERR = 0, 1, 2


class Channel:
    """Sends messages to the supervisor and receives messages from the supervisor.

    Attributes:
        stop_mode: the mode of the latest stop request. None: no stop is requested.
    """

    def __init__(
        self,
        output_fd: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """Create a channel.

        Args:
            output_fd: the file descriptor to which messages are written.
            clock: returns the time of a monotonic clock, in seconds. Used to measure the age of the lease.
            exit_process: ends the process immediately with the given exit status.
        """
        self.stop_mode: StopMode | None = None
        self._output_fd = output_fd
        self._clock = clock
        self._exit_process = exit_process
        self._starts: queue.Queue[Start] = queue.Queue()
        self._lock = threading.Lock()
        self._lease_s: float | None = None
        self._renewed_at = 0.0
        self._is_closing = False
        self._forward_stop: Callable[[StopMode], None] | None = None

    @property
    def output_fd(self) -> int:
        """The file descriptor to which messages are written."""
        return self._output_fd

    def request_stop(self, mode: StopMode) -> None:
        """Request that the run stops. Signal handlers can call this method, because it takes no lock."""
        self.stop_mode = mode
        if self._forward_stop is not None:
            self._forward_stop(mode)

    def forward_stop_to(self, forward: Callable[[StopMode], None]) -> None:
        """Call `forward` for every stop request, including a request that was received before this call."""
        self._forward_stop = forward
        if self.stop_mode is not None:
            forward(self.stop_mode)

    def send(self, message: TrainerMessage) -> None:
        """Send a message as one line of JSON. If the supervisor has closed the pipe, end the process."""
        line = message.model_dump_json().encode() + b"\n"
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._output_fd, line) :]
        except BrokenPipeError:
            self._exit_process(EXIT_ORPHANED)

    def send_final(self, message: TrainerMessage) -> None:
        """Send the last message. Afterwards, the process does not exit if the supervisor closes the pipe."""
        self._is_closing = True
        self.send(message)

    def send_log(self, message: str, level: Literal["info", "warning", "error"] = "info") -> None:
        """Send a line of the job's log."""
        self.send(Log(level=level, message=message))

    def wait_for_start(self) -> Start:
        """Wait for the start message and return it. The lease starts when this message arrives."""
        return self._starts.get()

    def start_listening(self, source: int) -> None:
        """Start a thread that reads messages from the file descriptor `source` and checks the age of the lease."""
        threading.Thread(target=self._read_messages, args=(source,), name="channel", daemon=True).start()

    def _read_messages(self, source: int) -> None:
        incomplete = b""
        while True:
            readable, _, _ = select.select([source], [], [], self._get_poll_timeout_s())
            if self._lease_s is not None and self._clock() - self._renewed_at > self._lease_s:
                self._exit_as_orphan("the lease was not renewed")
            if not readable:
                continue
            received = os.read(source, 65536)
            if not received:
                self._exit_as_orphan("the supervisor closed its pipe")
                return
            *lines, incomplete = (incomplete + received).split(b"\n")
            for line in lines:
                self._handle_line(line)

    def _get_poll_timeout_s(self) -> float:
        if self._lease_s is None:
            return 1.0
        return min(1.0, max(0.01, self._renewed_at + self._lease_s - self._clock()))

    def _exit_as_orphan(self, reason: str) -> None:
        if not self._is_closing:
            os.write(STDERR, f"trainer: {reason}\n".encode())
            self._exit_process(EXIT_ORPHANED)

    def _handle_line(self, line: bytes) -> None:
        try:
            message: SupervisorMessage = SUPERVISOR_MESSAGES.validate_json(line)
        except ValidationError as error:
            self.send(Log(level="error", message=f"A message from the supervisor is not valid: {error}"))
            return
        match message:
            case Start():
                self._renewed_at, self._lease_s = self._clock(), message.lease_s
                self._starts.put(message)
            case LeaseRenewed():
                self._renewed_at = self._clock()
            case Stop():
                self.request_stop(message.mode)


def redirect_stdout() -> int:
    """Redirect stdout to stderr, and return a file descriptor of the original stdout."""
    sys.stdout.flush()
    output_fd = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return output_fd


def preempt_on_signal(channel: Channel, *signals: signal.Signals) -> None:
    """Install handlers that request a preemption of the run when the process receives one of the signals."""

    def request_preemption(*_: object) -> None:
        channel.request_stop(StopMode.PREEMPT)

    for number in signals:
        signal.signal(number, request_preemption)
