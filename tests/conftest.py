"""Fixtures of all tests: databases on SQLite and PostgreSQL, a queue server, storages and a small disk."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import Engine

from core.db import schema
from core.db.session import SessionFactory, make_engine, make_session_factory
from core.storage import LocalStorage
from tests.support.fakes import Clock
from tests.support.moto import MotoServer, moto_server
from tests.support.s3 import S3Server, s3_server
from tests.support.servers import DEBIAN_REDIS, PostgresServer, RedisServer, postgres_server, valkey_server
from tests.support.small_disk import disk
from tests.support.write_locks import watch_write_locks

# No example fails because a machine was busy for a moment, and every run has the same examples. Others:
# `pytest --hypothesis-profile random`, and `make fuzz`.
_patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("random", _patient)
settings.register_profile("repeatable", _patient, derandomize=True)
settings.load_profile("repeatable")

__all__ = ["disk"]


@pytest.fixture(scope="session", autouse=True)
def _watch_write_locks() -> Iterator[None]:
    """Fail every test whose code waits for something slow while it holds a write transaction."""
    with watch_write_locks():
        yield


DATABASES = [pytest.param("sqlite"), pytest.param("postgresql", marks=pytest.mark.services)]


@pytest.fixture
def clock() -> Clock:
    """Time that stands still until it is moved."""
    return Clock()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """The test run's PostgreSQL, with a template database that has our tables."""
    with postgres_server() as server:
        server.execute("CREATE DATABASE candela_template")
        schema.upgrade_schema(server.url("candela_template"))
        yield server


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with our tables, to be copied."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    schema.upgrade_schema(f"sqlite:///{path}")
    return path


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database with our tables, the test's own; such a test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{shutil.copy(request.getfixturevalue('sqlite_template'), tmp_path / 'candela.db')}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create("candela_template")
    yield server.url(name)
    server.drop(name)


@pytest.fixture(params=DATABASES)
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database without tables, the test's own; such a test runs once on each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    server: PostgresServer = request.getfixturevalue("postgres")
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on `database_url`."""
    engine = make_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def sessions(engine: Engine) -> SessionFactory:
    """Sessions on `database_url`, that is: on SQLite and on PostgreSQL."""
    return make_session_factory(engine)


@pytest.fixture
def sqlite_sessions(sqlite_template: Path, tmp_path: Path) -> Iterator[SessionFactory]:
    """Sessions on SQLite alone, for tests of what is above the database."""
    engine = make_engine(f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'only.db')}")
    yield make_session_factory(engine)
    engine.dispose()


@pytest.fixture(scope="session")
def valkey() -> Iterator[RedisServer]:
    """The test run's Valkey; `redis_url` is it, emptied."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def redis_url(valkey: RedisServer) -> str:
    """A Valkey without content."""
    with valkey.client as client:
        client.flushall()
    return valkey.url


@pytest.fixture
def own_valkey() -> Iterator[RedisServer]:
    """A Valkey for a test that kills it."""
    with valkey_server() as server:
        yield server


@pytest.fixture
def debian_redis() -> Iterator[RedisServer]:
    """Debian's Redis, where it is installed."""
    if DEBIAN_REDIS is None:
        pytest.skip("no redis-server on this machine")
    with valkey_server(DEBIAN_REDIS) as server:
        yield server


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[LocalStorage]:
    """An empty local storage."""
    storage = LocalStorage.open_folder(str(tmp_path / "store"))
    yield storage
    storage.close()


@pytest.fixture(scope="session")
def moto() -> Iterator[MotoServer]:
    """The test run's other S3 server."""
    with moto_server() as server:
        yield server


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """The test run's S3 server."""
    with s3_server() as server:
        yield server
