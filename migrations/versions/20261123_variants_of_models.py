"""Adds variants of models."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "b4a9d2e61f07"
down_revision: str | None = "b61f27d90e34"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "model_variant",
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("format", sa.String(32), nullable=False),
        sa.Column("job_id", sa.String(32), nullable=False),
        sa.Column("key", sa.String(255), nullable=False),
        sa.Column("files", JSON, nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("measured", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["name", "version"],
            ["model_version.name", "model_version.version"],
            name=op.f("fk_model_variant_name_version_model_version"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("name", "version", "format", name=op.f("pk_model_variant")),
    )
    op.create_index(op.f("ix_model_variant_key"), "model_variant", ["key"])
    with op.batch_alter_table("model_alias") as table:
        table.add_column(sa.Column("variant", sa.String(32), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("model_alias") as table:
        table.drop_column("variant")
    op.drop_index(op.f("ix_model_variant_key"), table_name="model_variant")
    op.drop_table("model_variant")
