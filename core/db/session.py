"""Creates engines, sessions and transactions for SQLite and PostgreSQL."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.orm import Session, sessionmaker

from core.db.damage import log_damage
from core.errors import ConfigurationError
from core.events import Event

SessionFactory = sessionmaker[Session]
Publish = Callable[[Sequence[Event]], None]

SQLITE_BUSY_TIMEOUT_S = 10.0
POSTGRES_CONNECT_TIMEOUT_S = 10
POSTGRES_RESPONSE_TIMEOUT_MS = 20_000  # a server that does not acknowledge data for this time is treated as lost
_DRIVERS = {"sqlite", "sqlite+pysqlite", "postgresql", "postgresql+psycopg"}
_ACCEPTED_URLS = "sqlite:////path/to/file or postgresql://user:password@host:port/name"
_INVALID_URL = (
    f"CANDELA_DATABASE_URL is not a valid database URL. It must be {_ACCEPTED_URLS}; quote special characters of the "
    "password, for example @ as %40."
)
_READ_ONLY = "candela_read_only"
_ACTIONS = "candela_on_commit"
_EVENTS = "candela_told"
_PUBLISH = "candela_publish"


def make_engine(url: str) -> Engine:
    """Create an engine. `postgresql://` URLs use psycopg 3. JSON columns reject NaN on both databases.

    Raises:
        ConfigurationError: the URL is not valid. The message does not contain it, because it may contain a password.
    """
    parsed = _parse_url(url)
    if parsed.drivername == "postgresql":
        parsed = parsed.set(drivername="postgresql+psycopg")
    dump = partial(json.dumps, allow_nan=False)
    if parsed.get_backend_name() == "sqlite":
        engine = create_engine(parsed, json_serializer=dump, connect_args={"timeout": SQLITE_BUSY_TIMEOUT_S})
        event.listen(engine, "connect", _configure_sqlite)
        event.listen(engine, "begin", _start_sqlite_transaction)
        return engine
    return create_engine(
        parsed,
        json_serializer=dump,
        pool_pre_ping=True,
        pool_size=10,
        max_overflow=20,
        connect_args={"connect_timeout": POSTGRES_CONNECT_TIMEOUT_S, "tcp_user_timeout": POSTGRES_RESPONSE_TIMEOUT_MS},
    )


def make_read_only(engine: Engine) -> Engine:
    """Return a view of the engine whose transactions do not take the write lock of SQLite at their start."""
    return engine.execution_options(**{_READ_ONLY: True})


def _parse_url(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ConfigurationError(_INVALID_URL) from None  # the error may contain a part of the password
    # After an unquoted @ or / in the password, the rest of the password is parsed as the host or the database.
    is_misquoted = parsed.host is not None and "@" in f"{parsed.host}{parsed.database}"
    if is_misquoted:
        raise ConfigurationError(_INVALID_URL)
    if parsed.drivername not in _DRIVERS:
        raise ConfigurationError(_describe_unknown_scheme(parsed.drivername))
    return parsed


def _describe_unknown_scheme(scheme: str) -> str:
    """Return an error message for a scheme that is not supported, with the right scheme if there is one."""
    name = scheme.lower()
    advice = f"It must be {_ACCEPTED_URLS}."
    if name.startswith(("postgres", "psycopg", "pgsql")):
        advice = "Write postgresql:// instead; the driver is psycopg."
    elif name.startswith("sqlite"):
        advice = "Write sqlite:////path/to/file instead."
    return f"CANDELA_DATABASE_URL is not a valid database URL: {scheme}:// is not supported. {advice}"


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver starts no transactions; see _start_sqlite_transaction
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _start_sqlite_transaction(connection: Connection) -> None:
    # A deferred transaction takes the write lock at its first write. This write fails at once, regardless of the busy
    # timeout, if a different transaction has written since the first read. BEGIN IMMEDIATE waits for the lock instead.
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def make_session_factory(engine: Engine, publish: Publish | None = None) -> SessionFactory:
    """Create a session factory. `publish` is called with new events after each commit and must not raise."""
    log_damage(engine)
    return sessionmaker(engine, expire_on_commit=False, info={_PUBLISH: publish})


@contextmanager
def transaction(sessions: SessionFactory, *, read_only: bool = False) -> Iterator[Session]:
    """Run a transaction. Commit at the end and then run the `on_commit` actions, or roll back on an exception.

    On SQLite, a `read_only` transaction does not take the write lock at its start, so a write in it can fail with
    "database is locked".
    """
    with sessions() as session:
        if read_only:
            session.connection(execution_options={_READ_ONLY: True})
        yield session
        session.commit()
        publish: Publish | None = session.info.get(_PUBLISH)
        events: list[Event] = session.info.pop(_EVENTS, [])
        actions: list[Callable[[], None]] = session.info.pop(_ACTIONS, [])
    if publish is not None and events:
        publish(events)
    for action in actions:
        action()


def release_connection(session: Session) -> None:
    """End a read transaction before slow work, such as a download, so that it holds no database connection meanwhile.

    Loaded rows remain usable.
    """
    session.commit()


def on_commit(session: Session, action: Callable[[], None]) -> None:
    """Run `action` after the commit of this transaction; a rollback discards it."""
    session.info.setdefault(_ACTIONS, []).append(action)


def publish_on_commit(session: Session, events: Sequence[Event]) -> None:
    """Publish `events` after the commit of this transaction; a rollback discards them."""
    session.info.setdefault(_EVENTS, []).extend(events)


def is_database_unavailable(error: BaseException) -> bool:
    """Return whether an error may be temporary: for example, the database is locked, full or stopped.

    Callers retry, or respond with status 503 and Retry-After.
    """
    if isinstance(error, exc.TimeoutError):
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    cause: Any = error.orig
    if isinstance(cause, sqlite3.Error):
        code = getattr(cause, "sqlite_errorcode", None) or sqlite3.SQLITE_ERROR
        return code & 0xFF in _SQLITE_TRANSIENT
    return isinstance(error, exc.OperationalError)


_SQLITE_TRANSIENT = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
}
