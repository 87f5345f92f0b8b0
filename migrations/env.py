"""The environment of Alembic. It uses a configured connection, or opens one from the settings."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Column, Connection
from sqlalchemy.types import TypeEngine

from core.db.base import UtcDateTime
from core.db.session import make_engine
from core.db.tables import METADATA
from core.file_permissions import apply_umask
from core.startup import exit_on_configuration_error, load_settings_or_exit

DESCENDING = {
    index.name
    for table in METADATA.tables.values()
    for index in table.indexes
    if not all(isinstance(expression, Column) for expression in index.expressions)
}


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:  # noqa: ANN401 - Alembic's
    """Render the plain type of a custom one, so that migrations do not depend on the code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, TypeEngine) and type(item).__name__ == "JSON":
        autogen.imports.add("from sqlalchemy.dialects import postgresql")
        return 'sa.JSON().with_variant(postgresql.JSONB(), "postgresql")'
    if kind == "type" and type(item).__name__ == "Enum":
        return f"sa.String({item.length})"
    return False


def is_comparable(item: Any, name: str | None, kind: str, *_: object) -> bool:  # noqa: ANN401 - Alembic's
    """Return whether Alembic can compare an object with the database. SQLite does not report that a column descends."""
    return kind != "index" or name not in DESCENDING or context.get_bind().dialect.name != "sqlite"


def migrate(connection: Connection) -> None:
    """Run the requested migrations in one transaction."""
    context.configure(
        connection=connection,
        target_metadata=METADATA,
        render_item=render_item,
        include_object=is_comparable,
        render_as_batch=connection.dialect.name == "sqlite",
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        context.run_migrations()


configured_connection = context.config.attributes.get("connection")
if configured_connection is not None:
    migrate(configured_connection)
else:
    settings = load_settings_or_exit()
    apply_umask(settings.umask)
    with exit_on_configuration_error():
        engine = make_engine(settings.sqlalchemy_url)
    with engine.connect() as new_connection:
        migrate(new_connection)
        new_connection.commit()
