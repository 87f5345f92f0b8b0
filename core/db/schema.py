"""Upgrades the database schema and checks its version."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from core.db.session import make_engine
from core.errors import ConfigurationError

_ADVISORY_LOCK = 0x63616E64  # "cand" in ASCII; this lock makes concurrent migrations run one after the other


def upgrade_schema(url: str, revision: str = "head") -> None:
    """Upgrade the database at `url` to a revision, in one transaction. Several processes can do this at once."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            _acquire_migration_lock(connection)
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


def check_schema(engine: Engine) -> None:
    """Check that the database has the schema version of this code.

    Raises:
        ConfigurationError: the schema is older or newer than the code, or missing.
    """
    script = ScriptDirectory.from_config(_build_alembic_config(None))
    with engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    head = script.get_current_head()
    if current == head:
        return
    revisions = {revision.revision for revision in script.walk_revisions()}
    if current is None or current in revisions:
        raise ConfigurationError(
            f"The database schema is {current or 'absent'}; required: {head}. Run `alembic upgrade head`."
        )
    raise ConfigurationError(
        f"The database schema {current} is newer than the schema of this version, {head}. Upgrade Candela."
    )


def _build_alembic_config(connection: Connection | None) -> Config:
    with as_file(files("migrations")) as folder:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        return config


def _acquire_migration_lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # on SQLite, the transaction already holds the write lock
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
