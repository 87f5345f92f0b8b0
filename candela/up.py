"""The embedded service: starts the parts as processes, keeps them running, stops them in order."""

import contextlib
import http.client
import select
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from candela import components as embedded
from candela.components import UpOptions
from candela.errors import CandelaError
from candela.home import Home
from candela.managed_process import ManagedProcess
from candela.sockets import open_listener, url_of

POLL_S = 0.1
START_WITHIN_S = 180.0  # a cold disk may need a minute to read torch
LOOK_AT_LOGS_S = 10.0
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequested(Exception):
    """A signal came while the service was starting."""


class Signals:
    """Counts the signals that ask to stop: the first stops in order, a second at once."""

    def __init__(self) -> None:
        self.count = 0
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        with suppress(BlockingIOError):
            self._wake.send(b"x")

    def is_asked(self) -> bool:
        return self.count > 0

    def is_forced(self) -> bool:
        return self.count > 1

    def sleep(self, seconds: float) -> None:
        """Sleep, but not on when a signal comes."""
        select.select([self._woken], [], [], 0 if self.count else seconds)

    def check(self) -> None:
        if self.count:
            raise StopRequested

    def close(self) -> None:
        self._wake.close()
        self._woken.close()


def run(options: UpOptions, environ: Mapping[str, str]) -> None:
    """Start the service, print `ready …`, and return when it was asked to stop and has.

    Must be called from the main thread.

    Raises:
        CandelaError: it cannot start; the text says why.
    """
    embedded.require_keys_on_public_host(options.host, environ)
    home = Home(options.home)
    with caught_signals() as signals, contextlib.closing(open_listener(options.host, options.port)) as listener:
        try:
            shared_fd = home.acquire(signals.is_asked)
            Service(options, environ, home, signals, listener).run(shared_fd)
        except StopRequested:
            _tell("stopped before it was ready")
        finally:
            home.release()


class Service:
    """All parts of one embedded service."""

    def __init__(
        self,
        options: UpOptions,
        environ: Mapping[str, str],
        home: Home,
        signals: Signals,
        listener: socket.socket,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._environ = environ
        self._home = home
        self._signals = signals
        self._listener = listener
        self._clock = clock
        self._url = url_of(listener, options.host)
        self._running: list[ManagedProcess] = []  # in the order in which they are stopped

    def run(self, shared_fd: int) -> None:
        """Start, say so, supervise, stop. Whatever happens, no part is left."""
        needs_broker = not self._environ.get("CANDELA_REDIS_URL")
        socket_path = self._home.socket_path() if needs_broker else None
        try:
            self._home.announce(self._url)
            self._start(shared_fd, socket_path)
            print(f"ready {self._url}", flush=True)
            self._supervise()
        finally:
            self._stop()
            if socket_path is not None:
                self._home.remove_socket(socket_path)
            self._home.withdraw()

    def _start(self, shared_fd: int, socket_path: Path | None) -> None:
        port = self._listener.getsockname()[1]
        environment = embedded.settings(self._options, self._environ, self._home, port, socket_path)
        if socket_path is not None:
            socket_path.unlink(missing_ok=True)
            broker = embedded.broker(self._home, environment, socket_path, shared_fd)
            self._launch(broker, before=False)
            self._until(lambda: _answers_ping(socket_path), "its broker")
        self._migrate(embedded.migration(self._home, environment, shared_fd))
        for part in reversed(embedded.services(self._home, environment, self._listener.fileno(), shared_fd)):
            self._launch(part, before=True)
        self._until(lambda: _is_ready(self._options.host, port), "readiness")

    def _launch(self, part: ManagedProcess, *, before: bool) -> None:
        self._signals.check()
        self._running.insert(0 if before else len(self._running), part)
        part.start()

    def _migrate(self, part: ManagedProcess) -> None:
        self._launch(part, before=True)
        while (status := part.exit_status) is None:
            self._signals.sleep(POLL_S)
            self._signals.check()
        self._running.remove(part)
        if status != 0:
            raise _start_failed(part, status)

    def _until(self, holds: Callable[[], bool], what: str) -> None:
        deadline = self._clock() + START_WITHIN_S
        while not holds():
            for part in self._running:
                if (status := part.exit_status) is not None:
                    raise _start_failed(part, status)
            if self._clock() > deadline:
                raise CandelaError(f"Waited {START_WITHIN_S:.0f} s in vain for {what}; see {self._home.logs}")
            self._signals.sleep(POLL_S)
            self._signals.check()

    def _supervise(self) -> None:
        look_at_logs = self._clock()
        while not self._signals.is_asked():
            for part in self._running:
                self._restart_dead(part)
            if self._clock() >= look_at_logs:
                look_at_logs = self._clock() + LOOK_AT_LOGS_S
                for part in self._running:
                    part.bound_log()
            self._signals.sleep(POLL_S)

    def _restart_dead(self, part: ManagedProcess) -> None:
        status = part.exit_status
        if status is None:
            return
        if part.start_again_at is None:
            part.kill()  # what is left of its group
            pause_s = part.schedule_start(self._clock())
            _tell(f"{part.name} ended with status {status}; it starts again in {pause_s:.1f} s (see {part.log})")
        elif self._clock() >= part.start_again_at:
            part.start()

    def _stop(self) -> None:
        self._listener.close()  # refused is better than accepted and never answered
        for part in self._running:
            if not part.stop(self._signals.is_forced):
                _tell(f"{part.name} did not stop in time and was killed")
        self._running = []


@contextmanager
def caught_signals() -> Iterator[Signals]:
    """While it lasts, signals that would end the process are counted instead."""
    signals = Signals()
    before = {number: signal.signal(number, signals) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


def _start_failed(part: ManagedProcess, status: int) -> CandelaError:
    lines = part.last_lines()
    return CandelaError(f"{part.name} ended with status {status} while starting; {part.log} ends with:\n{lines}")


def _answers_ping(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # -LOADING while it reads its file
        except OSError:
            return False


def _is_ready(host: str, port: int) -> bool:
    # The socket is ours from before the first part was started: no stranger can answer here.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
    connection = http.client.HTTPConnection(reachable, port, timeout=2.0)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _tell(text: str) -> None:
    print(f"candela: {text}", file=sys.stderr, flush=True)
