"""Runs the embedded service: starts its components as processes, restarts them, and stops them in order."""

import contextlib
import http.client
import os
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
from candela.sockets import build_url, open_listener
from core.errors import ConfigurationError
from core.file_permissions import DEFAULT_UMASK, parse_umask
from core.startup import load_settings_or_exit

POLL_S = 0.1
START_TIMEOUT_S = 180.0  # long, because importing torch from a slow disk may take a minute
LOG_ROTATION_S = 10.0
CONFIGURATION_ERROR = "candela: "
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class StopRequested(Exception):
    """A stop signal arrived during the start."""


class StopSignals:
    """Counts stop signals: after the first, the processes are stopped in order; after the second, killed at once."""

    def __init__(self) -> None:
        self.count = 0
        self._wake, self._woken = socket.socketpair()
        self._wake.setblocking(False)
        self._woken.setblocking(False)

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        with suppress(BlockingIOError):
            self._wake.send(b"x")

    def is_stop_requested(self) -> bool:
        return self.count > 0

    def is_forced(self) -> bool:
        return self.count > 1

    def sleep(self, seconds: float) -> None:
        """Sleep until the time has passed or a signal arrives."""
        select.select([self._woken], [], [], 0 if self.count else seconds)

    def raise_if_stopped(self) -> None:
        if self.count:
            raise StopRequested

    def close(self) -> None:
        self._wake.close()
        self._woken.close()


def run_service(options: UpOptions, environ: Mapping[str, str]) -> None:
    """Run the service until a stop signal arrives. Print `ready …` when the service accepts requests.

    Call it from the main thread.

    Raises:
        CandelaError: the service cannot start.
    """
    load_settings_or_exit()  # report invalid values here: the processes report them in their logs
    embedded.require_keys_on_public_host(options.host, environ)
    umask = _apply_umask(environ)
    home = Home(options.home, umask)
    with catch_signals() as signals, contextlib.closing(open_listener(options.host, options.port)) as listener:
        try:
            shared_fd = home.acquire(signals.is_stop_requested)
            if message := home.restrict():
                _print_message(message)
            EmbeddedService(options, environ, home, signals, listener).run(shared_fd)
        except StopRequested:
            _print_message("the service was stopped before it was ready")
        finally:
            home.release()


class EmbeddedService:
    """Starts, supervises and stops the processes of one embedded service."""

    def __init__(
        self,
        options: UpOptions,
        environ: Mapping[str, str],
        home: Home,
        signals: StopSignals,
        listener: socket.socket,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._options = options
        self._environ = environ
        self._home = home
        self._signals = signals
        self._listener = listener
        self._clock = clock
        self._url = build_url(listener, options.host)
        self._running: list[ManagedProcess] = []  # processes in the order in which they are stopped

    def run(self, shared_fd: int) -> None:
        """Start and supervise all processes. Stop them after a stop signal or an error."""
        needs_broker = not self._environ.get("CANDELA_REDIS_URL")
        socket_path = self._home.choose_socket_path() if needs_broker else None
        try:
            self._home.announce(self._url)
            self._start_components(shared_fd, socket_path)
            print(f"ready {self._url}", flush=True)
            self._supervise_processes()
        finally:
            self._stop_processes()
            if socket_path is not None:
                self._home.remove_socket(socket_path)
            self._home.withdraw()

    def _start_components(self, shared_fd: int, socket_path: Path | None) -> None:
        port = self._listener.getsockname()[1]
        environment = embedded.build_settings(self._options, self._environ, self._home, port, socket_path)
        if socket_path is not None:
            socket_path.unlink(missing_ok=True)
            broker = embedded.create_broker(self._home, environment, socket_path, shared_fd)
            self._start_process(broker, before=False)
            self._wait_until(lambda: _is_broker_ready(socket_path), "the broker")
        self._run_migration(embedded.create_migration(self._home, environment, shared_fd))
        for part in reversed(embedded.create_services(self._home, environment, self._listener.fileno(), shared_fd)):
            self._start_process(part, before=True)
        self._wait_until(lambda: _is_ready(self._options.host, port), "the API")

    def _start_process(self, part: ManagedProcess, *, before: bool) -> None:
        self._signals.raise_if_stopped()
        self._running.insert(0 if before else len(self._running), part)
        part.start()

    def _run_migration(self, part: ManagedProcess) -> None:
        self._start_process(part, before=True)
        while (status := part.exit_status) is None:
            self._signals.sleep(POLL_S)
            self._signals.raise_if_stopped()
        self._running.remove(part)
        if status != 0:
            raise _start_error(part, status)

    def _wait_until(self, condition: Callable[[], bool], what: str) -> None:
        deadline = self._clock() + START_TIMEOUT_S
        while not condition():
            for part in self._running:
                if (status := part.exit_status) is not None:
                    raise _start_error(part, status)
            if self._clock() > deadline:
                raise CandelaError(f"{what} did not start within {START_TIMEOUT_S:.0f} s; see {self._home.logs}")
            self._signals.sleep(POLL_S)
            self._signals.raise_if_stopped()

    def _supervise_processes(self) -> None:
        look_at_logs = self._clock()
        while not self._signals.is_stop_requested():
            for part in self._running:
                self._restart_dead(part)
            if self._clock() >= look_at_logs:
                look_at_logs = self._clock() + LOG_ROTATION_S
                for part in self._running:
                    part.rotate_log()
            self._signals.sleep(POLL_S)

    def _restart_dead(self, part: ManagedProcess) -> None:
        status = part.exit_status
        if status is None:
            return
        if part.restart_at is None:
            part.kill()  # the process has ended, but other processes of its group may still run
            pause_s = part.schedule_restart(self._clock())
            _print_message(f"{part.name} exited with status {status}; restarting in {pause_s:.1f} s (see {part.log})")
        elif self._clock() >= part.restart_at:
            part.start()

    def _stop_processes(self) -> None:
        self._listener.close()  # refuse new connections instead of letting them wait for a response
        for part in self._running:
            if not part.stop(self._signals.is_forced):
                _print_message(f"{part.name} did not stop in time and was killed")
        self._running = []


@contextmanager
def catch_signals() -> Iterator[StopSignals]:
    """Count stop signals while the context is open; the signals do not end this process."""
    signals = StopSignals()
    before = {number: signal.signal(number, signals) for number in SIGNALS}
    try:
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signals.close()


def _apply_umask(environ: Mapping[str, str]) -> int:
    try:
        umask = parse_umask(environ.get("CANDELA_UMASK") or DEFAULT_UMASK)
    except ConfigurationError as error:
        raise CandelaError(str(error)) from error
    os.umask(umask)
    return umask


def _start_error(part: ManagedProcess, status: int) -> CandelaError:
    last_line = part.read_last_lines(1)
    if last_line.startswith(CONFIGURATION_ERROR):  # written by core.startup; it needs no context
        return CandelaError(last_line.removeprefix(CONFIGURATION_ERROR))
    lines = part.read_last_lines()
    return CandelaError(f"{part.name} exited with status {status} during the start; the end of {part.log}:\n{lines}")


def _is_broker_ready(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(1.0)
        try:
            connection.connect(str(path))
            connection.sendall(b"PING\r\n")
            return connection.recv(64).startswith(b"+PONG")  # the response is -LOADING while Valkey loads its data
        except OSError:
            return False


def _is_ready(host: str, port: int) -> bool:
    # Only the API can respond: `candela up` opened the port's socket before it started the processes.
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - only compared
    connection = http.client.HTTPConnection(reachable, port, timeout=2.0)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _print_message(text: str) -> None:
    print(f"candela: {text}", file=sys.stderr, flush=True)
