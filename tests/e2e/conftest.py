"""Fixtures that run `candela up` in a temporary home."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from candela import Client
from tests.support.browser import Visitor, start_browser
from tests.support.processes import die_with_parent, end, is_alive, wait_for

# Short intervals, so that a lost worker is detected within seconds.
SHORT_INTERVALS = {
    "CANDELA_LEASE_S": "4",
    "CANDELA_HEARTBEAT_S": "0.5",
    "CANDELA_MAINTENANCE_S": "0.5",
    "CANDELA_GRACE_S": "20",
}


def environment(**changes: str) -> dict[str, str]:
    """Return the environment without the settings of another service."""
    variables = {name: value for name, value in os.environ.items() if not name.startswith("CANDELA_")}
    return variables | SHORT_INTERVALS | changes


@dataclass
class Service:
    """A running `candela up`."""

    home: Path
    url: str = ""
    options: tuple[str, ...] = ()
    variables: dict[str, str] = field(default_factory=dict)
    program: tuple[str, ...] = (sys.executable, "-m", "candela")
    folder: Path | None = None  # the current folder; None: that of the tests
    process: "subprocess.Popen[str] | None" = None

    @property
    def command(self) -> list[str]:
        return [*self.program, "up", "--home", str(self.home), "--port", "0", *self.options]

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def start(self) -> "Service":
        self.process = subprocess.Popen(
            self.command,
            env=environment(**self.variables),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,
        )
        assert self.process.stdout is not None
        first = self.process.stdout.readline()
        if not first.startswith("ready http://127.0.0.1:"):
            raise AssertionError(f"candela up did not start: {first!r} {self.process.communicate()}")
        self.url = first.split()[1]
        return self

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str, str]:
        """Stop it. Return its exit status, and its stdout and stderr after `ready`."""
        assert self.process is not None
        status = end(self.process, how, timeout_s=90)
        stdout, stderr = self.process.communicate()
        return status, stdout, stderr

    def processes(self) -> dict[int, str]:
        """Return the command of every living process of this home except `up`, by pid.

        The environment of the broker is overwritten by its title, but its working folder is in the home.
        """
        mark = f"CANDELA_HOME={self.home}".encode()
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and is_alive(int(folder.name)):
                try:
                    is_ours = mark in (folder / "environ").read_bytes().split(b"\0")
                    if is_ours or (folder / "cwd").readlink().is_relative_to(self.home):
                        found[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:  # the process ended meanwhile
                    continue
        return found

    def wait_until_gone(self) -> None:
        wait_for(lambda: not self.processes(), "the last process to end", 20)

    def client(self) -> Client:
        return Client(self.url, max_attempts=8)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser for the tests of a module. One for all modules would keep an event loop running in their tests."""
    with start_browser() as started:
        yield started


@pytest.fixture(scope="module")
def service(shared_up: Callable[..., Service]) -> Service:
    """A service for the tests of a module, which begins without datasets, jobs and sweeps."""
    return shared_up()


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with service.client() as opened:
        yield opened


@pytest.fixture
def visit(browser: Browser, service: Service) -> Iterator[Callable[..., Visitor]]:
    """Open windows with the dashboard. At the end of the test, check that nothing on their pages went wrong."""
    visitors: list[Visitor] = []

    def open_window(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, service.url, **options))
        return visitors[-1]

    yield open_window
    faults = [fault for visitor in visitors for fault in visitor.faults]
    for visitor in visitors:
        visitor.close()
    assert faults == []


@pytest.fixture(scope="module")
def shared_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Service]]:
    """Start services for all tests of a module. They are stopped at its end."""
    with services() as start:
        yield lambda: start(tmp_path_factory.mktemp("shared") / "home")


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Start services. They are stopped at the end of the test."""
    with services() as start:
        yield lambda home=None, *options: start(home or tmp_path / "home", *options)


@contextmanager
def services() -> Iterator[Callable[..., Service]]:
    """Yield a function that starts services, and stop them all at the end."""
    started: list[Service] = []

    def start(home: Path, *options: str, **variables: str) -> Service:
        started.append(Service(home, options=options, variables=variables))
        return started[-1].start()

    yield start
    for service in started:
        if service.process is not None and service.process.poll() is None:
            service.end()
        for pid in service.processes():
            os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="session")
def spec() -> Callable[..., dict[str, Any]]:
    """A function that builds small specs. The result depends on all state that a resumed job must restore."""

    def build(**changed: Any) -> dict[str, Any]:
        return {
            "name": "small",
            "dataset": {
                "name": "synthetic",
                "image_shape": [3, 8, 8],
                "num_classes": 4,
                "num_samples": 512,
                "train_transforms": [{"name": "affine", "degrees": 15}],
            },
            "architecture": {"name": "convnet", "channels": [8, 8], "batch_norm": True, "dropout": 0.1, "head": [16]},
            "schedule": {"name": "one_cycle", "max_lr": 0.01},
            "epochs": 2,
            "seed": 777,
            "threads": 1,
            "device": "cpu",
            **changed,
        }

    return build
