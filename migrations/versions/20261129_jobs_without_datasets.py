"""Allows jobs without a dataset."""

import re
from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "d93a6b1f2c57"
down_revision: str | None = "f3a8c51d2e96"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

COLUMN = re.compile(r"(\"?dataset_version_id\"? VARCHAR\(32\))( NOT NULL)?")


def upgrade() -> None:
    set_nullable(True)


def downgrade() -> None:
    op.execute("DELETE FROM job WHERE dataset_version_id IS NULL")
    set_nullable(False)


def set_nullable(nullable: bool) -> None:
    if op.get_bind().dialect.name != "sqlite":
        op.alter_column("job", "dataset_version_id", existing_type=sa.String(length=32), nullable=nullable)
        return
    # A copy of the table would delete the events, metrics and checkpoints of all jobs, because foreign keys are on. The
    # procedure of https://www.sqlite.org/lang_altertable.html for constraints changes only the stored definition.
    connection = op.get_bind()
    row = connection.execute(sa.text("SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = 'job'")).one()
    definition, count = COLUMN.subn(r"\1" if nullable else r"\1 NOT NULL", row[0])
    if count != 1:
        raise RuntimeError("the definition of the table 'job' has no column dataset_version_id")
    version = connection.exec_driver_sql("PRAGMA schema_version").scalar_one()
    connection.exec_driver_sql("PRAGMA writable_schema = ON")
    update = sa.text("UPDATE sqlite_schema SET sql = :sql WHERE type = 'table' AND name = 'job'")
    connection.execute(update, {"sql": definition})
    connection.exec_driver_sql(f"PRAGMA schema_version = {int(version) + 1}")
    connection.exec_driver_sql("PRAGMA writable_schema = RESET")  # later migrations of this connection see the change
