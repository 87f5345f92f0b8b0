"""Engines, sessions and transactions, alike on SQLite and PostgreSQL."""

import json
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, exc, make_url
from sqlalchemy.orm import Session, sessionmaker

from core.events import Event

SessionFactory = sessionmaker[Session]
Publish = Callable[[Sequence[Event]], None]

SQLITE_BUSY_TIMEOUT_S = 10.0
POSTGRES_CONNECT_TIMEOUT_S = 10
POSTGRES_RESPONSE_TIMEOUT_MS = 20_000  # a peer that vanished without a word
_READ_ONLY = "candela_read_only"
_ACTIONS = "candela_on_commit"
_EVENTS = "candela_told"
_PUBLISH = "candela_publish"


def make_engine(url: str) -> Engine:
    """An engine for `url`; `postgresql://` means psycopg 3. JSON columns refuse NaN, as PostgreSQL does."""
    parsed = make_url(url)
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


def _configure_sqlite(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # the driver would begin a transaction too late, and of the wrong kind
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute("PRAGMA foreign_keys=ON")


def _start_sqlite_transaction(connection: Connection) -> None:
    # A transaction that reads first and writes later fails at once when another one wrote in between, whatever
    # the busy timeout; one that takes the write lock at its beginning waits its turn.
    read_only = connection.get_execution_options().get(_READ_ONLY, False)
    connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")


def make_session_factory(engine: Engine, publish: Publish | None = None) -> SessionFactory:
    """Sessions whose new events go to `publish` after the commit; `publish` must not raise."""
    return sessionmaker(engine, expire_on_commit=False, info={_PUBLISH: publish})


@contextmanager
def transaction(sessions: SessionFactory, *, read_only: bool = False) -> Iterator[Session]:
    """One transaction: commit at the end, then the `on_commit` actions; roll back on an error.

    `read_only` takes no write lock on SQLite; writing in it may fail as locked.
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


def on_commit(session: Session, action: Callable[[], None]) -> None:
    """Do `action` after the commit of this transaction; a rollback forgets it."""
    session.info.setdefault(_ACTIONS, []).append(action)


def publish_on_commit(session: Session, events: Sequence[Event]) -> None:
    """Publish `events` after the commit of this transaction; a rollback forgets them."""
    session.info.setdefault(_EVENTS, []).extend(events)


def is_database_unavailable(error: BaseException) -> bool:
    """Whether the database could not be asked now and may be later: locked, full, stopped, out of connections.

    The caller answers 503 with Retry-After, or tries again.
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
