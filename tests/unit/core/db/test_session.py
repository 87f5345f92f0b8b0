"""Transactions publish after the commit, wait for locks, and report an unavailable database."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, select, text, update
from sqlalchemy.exc import DBAPIError, StatementError

from core.db.repos.events import EventRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.jobs import JobRepo
from core.db.session import (
    SessionFactory,
    is_database_unavailable,
    make_engine,
    make_session_factory,
    on_commit,
    transaction,
)
from core.db.tables import JobRow
from core.errors import ConfigurationError, Conflict
from core.events import EventType
from tests.support.builders import dataset_version, job
from tests.support.fakes import RecordedEvents
from tests.support.servers import PostgresServer, postgres_server


def test_events_are_published_after_the_commit_and_not_after_a_rollback(engine: Engine) -> None:
    events = RecordedEvents()
    sessions = make_session_factory(engine, events.publish)
    done: list[str] = []
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        row = JobRepo(session).add(job(version))
        on_commit(session, lambda: done.append("sent"))
        assert (events, done) == ([], [])
    assert ([event.seq for event in events], done) == ([1], ["sent"])
    with pytest.raises(RuntimeError), transaction(sessions) as session:
        EventRepo(session).append(row.id, [(EventType.LOG, {})])
        on_commit(session, lambda: done.append("never"))
        raise RuntimeError
    assert ([event.seq for event in events], done) == ([1], ["sent"])


def test_concurrent_read_modify_write_transactions_are_serialized(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        row = JobRepo(session).add(job(version))

    def count_up(_: int) -> None:
        with transaction(sessions) as session:
            query = select(JobRow.priority).where(JobRow.id == row.id).with_for_update()
            priority = session.scalars(query).one()
            session.execute(update(JobRow).values(priority=priority + 1))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(count_up, range(40)))
    with transaction(sessions) as session:
        assert JobRepo(session).get(row.id).priority == 40


def test_nan_is_rejected(sessions: SessionFactory) -> None:
    with pytest.raises((StatementError, ValueError)), transaction(sessions) as session:
        session.add(dataset_version(report={"mean": float("nan")}))


def test_the_same_idempotency_key_twice_is_a_conflict(sessions: SessionFactory) -> None:
    with transaction(sessions) as session:
        IdempotencyRepo(session).add("key", "hash", "job-1")
        with pytest.raises(Conflict):
            IdempotencyRepo(session).add("key", "other", "job-2")
    with transaction(sessions) as session:
        found = IdempotencyRepo(session).find("key")
        assert found is not None
        assert found.subject_id == "job-1"


def test_a_locked_sqlite_database_is_unavailable(
    sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.db.session.SQLITE_BUSY_TIMEOUT_S", 0.05)
    short_timeout_engine = make_engine(str(sqlite_sessions.kw["bind"].url))
    with transaction(sqlite_sessions) as writer:
        writer.execute(text("UPDATE job SET priority = 1"))
        with pytest.raises(DBAPIError) as error, transaction(make_session_factory(short_timeout_engine)) as session:
            session.execute(text("SELECT 1"))
        with transaction(make_session_factory(short_timeout_engine), read_only=True) as session:
            assert session.scalars(text("SELECT count(*) FROM job")).one() == 0
    assert is_database_unavailable(error.value)
    short_timeout_engine.dispose()


def test_an_invalid_statement_is_not_unavailability(sessions: SessionFactory) -> None:
    with pytest.raises(DBAPIError) as error, transaction(sessions) as session:
        session.execute(text("SELECT nothing FROM nowhere"))
    assert not is_database_unavailable(error.value)


@pytest.mark.services
def test_a_stopped_postgresql_is_unavailable_and_a_closed_connection_is_replaced(postgres: PostgresServer) -> None:
    name = postgres.create("candela_template")
    engine = make_engine(postgres.url(name))
    sessions = make_session_factory(engine)
    with transaction(sessions) as session:
        pid = session.scalars(text("SELECT pg_backend_pid()")).one()
    postgres.execute(f"SELECT pg_terminate_backend({pid})")
    with transaction(sessions) as session:
        assert session.scalars(text("SELECT 1")).one() == 1
    engine.dispose()
    postgres.drop(name)
    with postgres_server() as server:
        stopped_engine = make_engine(server.url("postgres"))
        with transaction(make_session_factory(stopped_engine)) as session:
            session.execute(text("SELECT 1"))
    with pytest.raises(DBAPIError) as error, transaction(make_session_factory(stopped_engine)) as session:
        session.execute(text("SELECT 1"))
    assert is_database_unavailable(error.value)
    stopped_engine.dispose()


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://candela:hidden@x/y@db/candela",
        "postgresql://candela:a@hidden:port@db:5432/candela",
        "postgresql://candela:hidden@db:port/candela",
        "nosuchdatabase://candela:hidden@db/candela",
        "postgresql+asyncpg://candela:hidden@db/candela",
        "hidden",
    ],
)
def test_an_invalid_url_is_reported_without_its_password(url: str) -> None:
    with pytest.raises(ConfigurationError, match="CANDELA_DATABASE_URL is not a valid database URL") as raised:
        make_engine(url)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("scheme", "right"),
    [
        ("postgres", "postgresql://"),
        ("POSTGRES", "postgresql://"),
        ("postgresql+psycopg2", "postgresql://"),
        ("postgresql+asyncpg", "postgresql://"),
        ("psycopg", "postgresql://"),
        ("sqlite3", "sqlite:////path/to/file"),
        ("mysql", "sqlite:////path/to/file or postgresql://"),
    ],
)
def test_a_wrong_scheme_is_reported_with_the_right_one(scheme: str, right: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        make_engine(f"{scheme}://candela:hidden@db/candela")
    message = str(raised.value)
    assert f"{scheme}://" in message
    assert right in message.partition("not supported")[2]
    assert "hidden" not in message
