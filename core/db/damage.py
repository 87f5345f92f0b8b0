"""Detects SQLite files that cannot be used, and explains in one line how to recover."""

import os
import sqlite3
import threading
from pathlib import Path

import structlog
from sqlalchemy import URL, Engine, event, exc
from sqlalchemy.engine import ExceptionContext

from core.errors import ConfigurationError, DatabaseUnreachable

log = structlog.get_logger(__name__)
MAX_CHECKED_BYTES = 256 * 2**20  # a larger file is not read completely at each start
_HEADER = b"SQLite format 3\0"
_DAMAGED = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_database_damaged(error: BaseException | None) -> bool:
    """Return whether an error of SQLite or SQLAlchemy means that the database file is damaged."""
    cause = error.orig if isinstance(error, exc.DBAPIError) else error
    code = getattr(cause, "sqlite_errorcode", None) if isinstance(cause, sqlite3.Error) else None
    return code is not None and code & 0xFF in _DAMAGED


def get_database_file(url: URL) -> Path | None:
    """Return the file of a SQLite database; None for other databases and for databases in memory."""
    name = url.database or ""
    is_file = url.get_backend_name() == "sqlite" and name not in ("", ":memory:") and not name.startswith("file:")
    return Path(name).absolute() if is_file else None


def describe_recovery(file: Path, reason: str) -> str:
    """Return a one-line message that names the damaged file and says how to recover."""
    return (
        f"{file} is damaged ({' '.join(reason.split())}). Stop the service, move {file.name}, {file.name}-wal and "
        f"{file.name}-shm out of {file.parent}, and put a backup of {file.name} there; without a backup, recover its "
        f"rows with `sqlite3 {file.name} .recover`. Then check it with `candela doctor --home {file.parent}`."
    )


def check_database_file(file: Path) -> None:
    """Check a database file before it is opened. A missing file is valid in a new home: SQLite creates it.

    Raises:
        DatabaseUnreachable: its folder does not exist.
        ConfigurationError: it is not a SQLite database, it lost its content, or this user cannot read and write it.
    """
    try:
        _check_access(file)
        header = _read_header(file)
        if not header and _has_stored_files(file.parent / "store"):
            # A new database would have no rows for the stored files, so maintenance would delete them as orphans.
            raise ConfigurationError(describe_recovery(file, f"it is empty, but {file.parent / 'store'} has files"))
    except OSError as error:
        raise ConfigurationError(f"The database {file} cannot be opened: {error.strerror}.") from error
    if header and header != _HEADER:
        raise ConfigurationError(describe_recovery(file, "it is not a SQLite database"))


def _check_access(file: Path) -> None:
    folder = file.parent
    if not folder.is_dir():
        raise DatabaseUnreachable(f"The database {file} cannot be created: {folder} is not a folder. Create it.")
    if file.is_dir():
        raise ConfigurationError(
            f"The database {file} is a folder. Move it away and put a backup of the database file there, or set "
            "CANDELA_DATABASE_URL to another file."
        )
    files = [path for suffix in ("", "-wal", "-shm") if (path := Path(f"{file}{suffix}")).exists()]
    for path in (folder, *files):
        if not os.access(path, os.R_OK | os.W_OK) or path.is_dir() != (path == folder):
            raise ConfigurationError(
                f"The database {file} cannot be used: user {os.getuid()} needs read and write access to {path}. "
                "Check its owner and mode."
            )


def _read_header(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            return opened.read(len(_HEADER))
    except FileNotFoundError:
        return b""


def _has_stored_files(store: Path) -> bool:
    keys = (path for path in store.glob("*") if not path.name.startswith("."))
    return any(path.is_file() for key in keys for path in (key, *key.rglob("*")))


def log_damage(engine: Engine) -> None:
    """Log one line when a query first finds that the database file is damaged. The error is also raised."""
    file, is_logged = get_database_file(engine.url), threading.Event()
    if file is None:
        return

    def handle_error(context: ExceptionContext) -> None:
        if not is_logged.is_set() and is_database_damaged(context.original_exception):
            is_logged.set()
            log.error("database.damaged", hint=describe_recovery(file, str(context.original_exception)))

    event.listen(engine, "handle_error", handle_error)
