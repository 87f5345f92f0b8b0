"""The trainer's end of the pipe: says messages, hears orders, and dies when nobody is there any more."""

import os
import queue
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from pydantic import ValidationError

from core.jobs import StopMode
from worker.protocol import SUPERVISOR_MESSAGES, LeaseRenewed, Log, Start, Stop, SupervisorMessage, TrainerMessage

EXIT_ORPHANED = 69  # sysexits.h EX_UNAVAILABLE: the supervisor is gone, or has not renewed the lease
STDIN, STDOUT, STDERR = 0, 1, 2


class Channel:
    """Messages to and from the supervisor.

    Attributes:
        asked: how the run is to be stopped, once somebody asked; the last wish counts.
    """

    def __init__(
        self,
        output_fd: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        exit_process: Callable[[int], object] = os._exit,
    ) -> None:
        """`out`: the file descriptor that messages are written to; `die`: ends the process at once."""
        self.stop_mode: StopMode | None = None
        self._output_fd = output_fd
        self._clock = clock
        self._exit_process = exit_process
        self._starts: queue.Queue[Start] = queue.Queue()
        self._lock = threading.Lock()
        self._lease_s: float | None = None
        self._renewed = 0.0
        self._is_closing = False
        self._forward_stop: Callable[[StopMode], None] | None = None

    @property
    def output_fd(self) -> int:
        """The file descriptor that messages are written to."""
        return self._output_fd

    def request_stop(self, mode: StopMode) -> None:
        """Somebody wishes the run to be stopped. A signal's handler may call it: it takes no lock."""
        self.stop_mode = mode
        if self._forward_stop is not None:
            self._forward_stop(mode)

    def forward_stop_to(self, forward: Callable[[StopMode], None]) -> None:
        """Tell another process of every wish, and of one that came before."""
        self._forward_stop = forward
        if self.stop_mode is not None:
            forward(self.stop_mode)

    def send(self, message: TrainerMessage) -> None:
        """Write one line; whoever does not listen any more ends this process."""
        line = message.model_dump_json().encode() + b"\n"
        try:
            with self._lock:
                while line:
                    line = line[os.write(self._output_fd, line) :]
        except BrokenPipeError:
            self._exit_process(EXIT_ORPHANED)

    def send_final(self, message: TrainerMessage) -> None:
        """The last line: from now on the supervisor may hang up."""
        self._is_closing = True
        self.send(message)

    def wait_for_start(self) -> Start:
        """Block until the first order; its lease runs from here on."""
        return self._starts.get()

    def start_listening(self, source: int) -> None:
        """Hear orders from a file descriptor in a thread of its own, and watch the lease."""
        threading.Thread(target=self._read_messages, args=(source,), name="channel", daemon=True).start()

    def _read_messages(self, source: int) -> None:
        incomplete = b""
        while True:
            readable, _, _ = select.select([source], [], [], self._get_poll_timeout_s())
            if self._lease_s is not None and self._clock() - self._renewed > self._lease_s:
                self._exit_orphaned("the lease was not renewed")
            if not readable:
                continue
            received = os.read(source, 65536)
            if not received:
                self._exit_orphaned("the supervisor hung up")
                return
            *lines, incomplete = (incomplete + received).split(b"\n")
            for line in lines:
                self._handle_line(line)

    def _get_poll_timeout_s(self) -> float:
        if self._lease_s is None:
            return 1.0
        return min(1.0, max(0.01, self._renewed + self._lease_s - self._clock()))

    def _exit_orphaned(self, reason: str) -> None:
        if not self._is_closing:
            os.write(STDERR, f"trainer: {reason}\n".encode())
            self._exit_process(EXIT_ORPHANED)

    def _handle_line(self, line: bytes) -> None:
        try:
            message: SupervisorMessage = SUPERVISOR_MESSAGES.validate_json(line)
        except ValidationError as error:
            self.send(Log(level="error", message=f"an order was not understood: {error}"))
            return
        match message:
            case Start():
                self._renewed, self._lease_s = self._clock(), message.lease_s
                self._starts.put(message)
            case LeaseRenewed():
                self._renewed = self._clock()
            case Stop():
                self.request_stop(message.mode)


def redirect_stdout() -> int:
    """A descriptor of the real stdout; whatever else is printed goes to stderr from now on."""
    sys.stdout.flush()
    out = os.dup(STDOUT)
    os.dup2(STDERR, STDOUT)
    return out


def preempt_on_signal(channel: Channel, *signals: signal.Signals) -> None:
    """A signal asks to leave with a snapshot; the handler does nothing else."""

    def request_preemption(*_: object) -> None:
        channel.request_stop(StopMode.PREEMPT)

    for number in signals:
        signal.signal(number, request_preemption)
