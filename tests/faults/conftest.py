"""One service for all faults on SQLite, one on PostgreSQL; killed processes are restarted after every test."""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.db import schema
from core.db.session import make_engine, make_session_factory
from tests.support import invariants
from tests.support.servers import PostgresServer, RedisServer, postgres_server, valkey_server
from tests.support.stack import SECRET, Stack


@pytest.fixture(scope="session")
def stack_valkey() -> Iterator[RedisServer]:
    """The queue of the SQLite stack, which tests kill."""
    with valkey_server() as server:
        yield server


@pytest.fixture(scope="session")
def sqlite_stack(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, stack_valkey: RedisServer
) -> Iterator[Stack]:
    home = tmp_path_factory.mktemp("faults") / "home"
    home.mkdir()
    url = f"sqlite:///{shutil.copy(sqlite_template, home / 'candela.db')}"
    engine = make_engine(url)
    stack = Stack(home, url, stack_valkey.url, make_session_factory(engine))
    yield stack
    stack.close()
    engine.dispose()


@pytest.fixture
def stack(sqlite_stack: Stack) -> Iterator[Stack]:
    """The running SQLite stack; after the test its invariants are checked."""
    sqlite_stack.start_missing()
    yield sqlite_stack
    sqlite_stack.start_missing()
    invariants.check(sqlite_stack)


@pytest.fixture(scope="session")
def own_postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server that tests kill."""
    with postgres_server() as server:
        schema.upgrade_schema(server.url(server.create()))
        yield server


@pytest.fixture(scope="session")
def postgres_only_stack(tmp_path_factory: pytest.TempPathFactory, own_postgres: PostgresServer) -> Iterator[Stack]:
    url = own_postgres.url("test_1").replace("postgres@", f"postgres:{SECRET}@")  # the server requires no password
    engine = make_engine(url)
    with valkey_server() as queue:  # its worker lives as long as the test run and would take messages of other tests
        stack = Stack(tmp_path_factory.mktemp("faults-p") / "home", url, queue.url, make_session_factory(engine))
        yield stack
        stack.close()
    engine.dispose()


@pytest.fixture
def postgres_stack(postgres_only_stack: Stack, own_postgres: PostgresServer) -> Iterator[Stack]:
    """The running PostgreSQL stack; after the test its invariants are checked."""
    postgres_only_stack.start_missing()
    yield postgres_only_stack
    if not own_postgres.is_running():
        own_postgres.start()
    postgres_only_stack.start_missing()
    invariants.check(postgres_only_stack)


@pytest.fixture
def chance(request: pytest.FixtureRequest) -> random.Random:
    """A random generator whose seed is printed with a failure; CANDELA_FAULT_SEED repeats it."""
    seed = int(os.environ.get("CANDELA_FAULT_SEED") or random.SystemRandom().randrange(2**32))
    request.node.add_report_section("setup", "seed", f"CANDELA_FAULT_SEED={seed} repeats {request.node.nodeid}")
    return random.Random(seed)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print a table of the faults and their outcomes."""
    lines = [
        (str(report.nodeid).partition("::test_")[2].replace("_", " "), outcome, report.duration)
        for outcome in ("passed", "failed", "skipped")
        for report in terminalreporter.stats.get(outcome, [])
        if "tests/faults/" in report.nodeid or "tests/integration/test_worker" in report.nodeid
    ]
    if lines:
        terminalreporter.section("faults")
        for name, outcome, seconds in sorted(lines):
            terminalreporter.write_line(f"{outcome:8} {seconds:6.1f} s  {name}")
