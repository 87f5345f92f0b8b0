"""The schema's version: bring a database up to date, or refuse one that is not."""

from importlib.resources import as_file, files

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text

from core.db.session import make_engine
from core.errors import ConfigurationError

_ADVISORY_LOCK = 0x63616E64  # "cand": two processes that migrate at once do it one after the other


def upgrade_schema(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a revision, all or nothing. Safe to call from several processes at once."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            _acquire_migration_lock(connection)
            command.upgrade(_build_alembic_config(connection), revision)
    finally:
        engine.dispose()


def downgrade_schema(url: str, revision: str) -> None:
    """Take the database back to an older revision; what only newer ones keep is lost."""
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            _acquire_migration_lock(connection)
            command.downgrade(_build_alembic_config(connection), revision)
    finally:
        engine.dispose()


def check_migrations(url: str) -> None:
    """See that the tables are those that the migrations make.

    Raises:
        alembic.util.CommandError: they differ; the text says how.
    """
    engine = make_engine(url)
    try:
        with engine.begin() as connection:
            command.check(_build_alembic_config(connection))
    finally:
        engine.dispose()


def check_schema(engine: Engine) -> None:
    """Refuse to start on a database of another version.

    Raises:
        ConfigurationError: its schema is older or newer than this code, or it has none.
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
            f"The database's schema is {current or 'absent'}, needed is {head}: `alembic upgrade head`."
        )
    raise ConfigurationError(
        f"The database's schema {current} is newer than this version knows ({head}): upgrade Candela."
    )


def _build_alembic_config(connection: Connection | None) -> Config:
    with as_file(files("migrations")) as folder:
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(folder).replace("%", "%%"))
        return config


def _acquire_migration_lock(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":  # SQLite's transaction holds the write lock already
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})"))
