"""Adds the milestone at which a job paused, and the bundles of jobs that register no model."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "c2f86a1d9e47"
down_revision: str | None = "c4e6f81b92d7"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    document = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
    op.add_column("job", sa.Column("milestone_epoch", sa.Integer(), server_default="0", nullable=False))
    op.create_table(
        "job_bundle",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("token", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("files", document, nullable=False),
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("bundle", document, nullable=False),
        sa.Column("metrics", document, nullable=False),
        sa.Column("dataset", document, nullable=False),
        sa.Column("num_parameters", sa.BigInteger(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_bundle_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_job_bundle")),
    )
    op.create_index(op.f("ix_job_bundle_key"), "job_bundle", ["key"])


def downgrade() -> None:
    op.drop_table("job_bundle")
    with op.batch_alter_table("job") as table:
        table.drop_column("milestone_epoch")
