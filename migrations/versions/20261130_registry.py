"""Adds descriptions, tags and version counters of models and datasets, system reports, and the retention of jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "8e41c7d0b35a"
down_revision: str | None = "5d20b9e6c4f1"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    document = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
    op.create_table(
        "resource_description",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("tags", document, nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "version", name=op.f("pk_resource_description")),
    )
    op.create_table(
        "resource_tag",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", "version", "tag", name=op.f("pk_resource_tag")),
    )
    op.create_index("ix_resource_tag_tag", "resource_tag", ["kind", "tag", "name"])
    op.create_table(
        "version_counter",
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("last_deleted", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "name", name=op.f("pk_version_counter")),
    )
    op.create_table(
        "system_report",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("content", document, nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_system_report")),
    )
    op.add_column("job", sa.Column("has_expired_checkpoints", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index("ix_job_finished", "job", ["finished_at", "id"])


def downgrade() -> None:
    op.drop_index("ix_job_finished", table_name="job")
    with op.batch_alter_table("job") as table:
        table.drop_column("has_expired_checkpoints")
    for name in ("system_report", "version_counter", "resource_tag", "resource_description"):
        op.drop_table(name)
