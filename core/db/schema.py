"""Upgrades the database schema and checks its version."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, delete, insert, text
from sqlalchemy.exc import DBAPIError

from core.db.damage import (
    MAX_CHECKED_BYTES,
    check_database_file,
    describe_recovery,
    get_database_file,
    is_database_damaged,
)
from core.db.session import is_database_unavailable, make_engine, make_read_only
from core.db.tables import IdempotencyRow
from core.errors import ConfigurationError, DatabaseUnreachable

_ADVISORY_LOCK = 0x63616E64  # "cand" in ASCII; this lock makes concurrent migrations run one after the other


def upgrade_schema(url: str, revision: str = "head") -> None:
    """Upgrade the database at `url` to a revision, in one transaction. Several processes can do this at once.

    Raises:
        ConfigurationError: the database is damaged or unreachable, or its schema is newer than this code.
    """
    engine = make_engine(url)
    file = get_database_file(engine.url)
    try:
        with _translate_errors(engine), engine.begin() as connection:
            _acquire_migration_lock(connection)
            if file is not None and file.stat().st_size <= MAX_CHECKED_BYTES:
                _run_quick_check(connection, file)
            _reject_newer_schema(connection)
            command.upgrade(_build_alembic_config(connection), revision)
    finally:
        engine.dispose()


def downgrade_schema(url: str, revision: str) -> None:
    """Downgrade the database to an older revision. Data that the older schema cannot store is deleted."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            _acquire_migration_lock(connection)
            command.downgrade(_build_alembic_config(connection), revision)
    finally:
        engine.dispose()


def check_migrations(url: str) -> None:
    """Check that a migrated database has the tables that `tables.py` declares.

    Raises:
        alembic.util.CommandError: the tables differ from `tables.py`. The message lists the differences.
    """
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            command.check(_build_alembic_config(connection))
    finally:
        engine.dispose()


def check_integrity(engine: Engine) -> None:
    """Connect to the database, and read every page of a SQLite file.

    Raises:
        DatabaseUnreachable: the database does not accept connections.
        ConfigurationError: the database is damaged.
    """
    file = get_database_file(engine.url)
    try:
        with _translate_errors(engine), make_read_only(engine).connect() as connection:
            if file is not None:
                _run_quick_check(connection, file)
    finally:
        engine.dispose()


class SchemaVersion(NamedTuple):
    """The schema version of a database, or None if it has no schema, and the version that this code requires."""

    current: str | None
    required: str | None


def read_schema_version(engine: Engine) -> SchemaVersion:
    """Return the schema version of the database.

    Raises:
        DatabaseUnreachable: the database does not accept connections.
        ConfigurationError: the schema is newer than the code, or the database is damaged.
    """
    with _translate_errors(engine), make_read_only(engine).connect() as connection:
        return SchemaVersion(_reject_newer_schema(connection), _get_script().get_current_head())


def check_schema(engine: Engine) -> None:
    """Check that the database has the schema version of this code.

    Raises:
        DatabaseUnreachable: the database does not accept connections.
        ConfigurationError: the schema is older or newer than the code, or missing, or the database is damaged.
    """
    current, head = read_schema_version(engine)
    if current != head:
        raise ConfigurationError(
            f"The database schema is {current or 'absent'}; required: {head}. Run `candela migrate`."
        )


def check_writable(engine: Engine) -> None:
    """Write a row and delete it again.

    Raises:
        DatabaseUnreachable: the database does not accept connections, or is locked or read-only.
        ConfigurationError: this user may not write, or the database is damaged.
    """
    key = f"probe-{uuid.uuid4().hex}"
    probe = {"key": key, "request_hash": "", "subject_id": "", "created_at": datetime.now(UTC)}
    try:
        with _translate_errors(engine), engine.begin() as connection:
            connection.execute(insert(IdempotencyRow).values(probe))
            connection.execute(delete(IdempotencyRow).where(IdempotencyRow.key == key))
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split()).rstrip(".")
        raise ConfigurationError(
            f"The database {engine.url.render_as_string()} cannot be written: {reason}. Grant the user of "
            "CANDELA_DATABASE_URL the right to change its tables."
        ) from error


def _reject_newer_schema(connection: Connection) -> str | None:
    """Return the revision of the database.

    Raises:
        ConfigurationError: this code does not know the revision.
    """
    current = MigrationContext.configure(connection).get_current_revision()
    script = _get_script()
    if current is not None and current not in {revision.revision for revision in script.walk_revisions()}:
        raise ConfigurationError(
            f"The database schema {current} of {connection.engine.url.render_as_string()} is newer than the schema of "
            f"this version, {script.get_current_head()}. Upgrade Candela, or restore a backup of the database."
        )
    return current


def _run_quick_check(connection: Connection, file: Path) -> None:
    verdict = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
    if verdict != "ok":
        raise ConfigurationError(describe_recovery(file, verdict))


@contextmanager
def _translate_errors(engine: Engine) -> Iterator[None]:
    """Check a SQLite file, then raise a ConfigurationError with one line for errors of the database."""
    file = get_database_file(engine.url)
    if file is not None:
        check_database_file(file)
    try:
        yield
    except DBAPIError as error:
        reason = " ".join(str(error.orig).split())
        if file is not None and is_database_damaged(error):
            raise ConfigurationError(describe_recovery(file, reason)) from error
        if not is_database_unavailable(error):
            raise
        raise DatabaseUnreachable(
            f"The database {engine.url.render_as_string()} is not available: {reason.rstrip('.')}. "
            "Check CANDELA_DATABASE_URL and the database server."
        ) from error


def _get_script() -> ScriptDirectory:
    return ScriptDirectory.from_config(_build_alembic_config(None))


def _build_alembic_config(connection: Connection | None) -> Config:
    with as_file(files("migrations")) as folder:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        return config


def _acquire_migration_lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # on SQLite, the transaction already holds the write lock
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
