"""Adds rollups and summaries of metric curves, and the training time of their points.

The rollups of existing curves are built later by maintenance, in short transactions. Until then, their points are read.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "d2b90f6ac714"
down_revision: str | None = "c81f5a07d3e6"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.add_column("metric_point", sa.Column("elapsed_ms", sa.BigInteger(), nullable=True))
    op.add_column("job", sa.Column("has_rollups", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_table(
        "metric_rollup",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("bucket", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("num_finite", sa.Integer(), nullable=False),
        sa.Column("num_special", sa.Integer(), nullable=False),
        sa.Column("first_step", sa.BigInteger(), nullable=False),
        sa.Column("first_epoch", sa.Integer(), nullable=False),
        sa.Column("first_elapsed_ms", sa.BigInteger(), nullable=True),
        sa.Column("first_value", sa.Double(), nullable=True),
        sa.Column("first_special", sa.String(length=9), nullable=True),
        sa.Column("last_step", sa.BigInteger(), nullable=False),
        sa.Column("last_epoch", sa.Integer(), nullable=False),
        sa.Column("last_elapsed_ms", sa.BigInteger(), nullable=True),
        sa.Column("last_value", sa.Double(), nullable=True),
        sa.Column("last_special", sa.String(length=9), nullable=True),
        sa.Column("min_step", sa.BigInteger(), nullable=True),
        sa.Column("min_epoch", sa.Integer(), nullable=True),
        sa.Column("min_value", sa.Double(), nullable=True),
        sa.Column("max_step", sa.BigInteger(), nullable=True),
        sa.Column("max_epoch", sa.Integer(), nullable=True),
        sa.Column("max_value", sa.Double(), nullable=True),
        sa.Column("special_step", sa.BigInteger(), nullable=True),
        sa.Column("special_epoch", sa.Integer(), nullable=True),
        sa.Column("special_kind", sa.String(length=9), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_metric_rollup_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "level", "split", "name", "bucket", name=op.f("pk_metric_rollup")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "metric_summary",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=96), nullable=False),
        sa.Column("last", sa.Double(), nullable=True),
        sa.Column("best", sa.Double(), nullable=True),
        sa.Column("best_epoch", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_metric_summary_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "name", name=op.f("pk_metric_summary")),
    )
    op.create_index("ix_metric_summary_best", "metric_summary", ["name", "best", "job_id"])
    op.create_index("ix_metric_summary_last", "metric_summary", ["name", "last", "job_id"])


def downgrade() -> None:
    op.drop_table("metric_summary")
    op.drop_table("metric_rollup")
    with op.batch_alter_table("job") as table:
        table.drop_column("has_rollups")
    with op.batch_alter_table("metric_point") as table:
        table.drop_column("elapsed_ms")
