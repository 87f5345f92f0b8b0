"""Adds sweeps, their trials and the scores of the trials at milestones."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "eedc920e5375"
down_revision: str | None = "c2f86a1d9e47"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "sweep",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("name", sa.String(length=63), nullable=False),
        sa.Column("model_name", sa.String(length=63), nullable=False),
        sa.Column("spec", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("dataset_version_id", sa.String(length=32), nullable=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("finish_reason", sa.String(length=64), nullable=True),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("num_steps", sa.Integer(), nullable=False),
        sa.Column("num_trials", sa.Integer(), nullable=False),
        sa.Column("num_refused", sa.Integer(), nullable=False),
        sa.Column("num_epochs", sa.Integer(), nullable=False),
        sa.Column("best_trial", sa.Integer(), nullable=True),
        sa.Column("best_score", sa.Double(), nullable=True),
        sa.Column("registered_version", sa.Integer(), nullable=True),
        sa.Column("active_s", sa.Double(), nullable=False),
        sa.Column("active_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["dataset_version_id"], ["dataset_version.id"], name=op.f("fk_sweep_dataset_version_id_dataset_version")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sweep")),
    )
    with op.batch_alter_table("sweep") as table:
        table.create_index(table.f("ix_sweep_dataset_version_id"), ["dataset_version_id"], unique=False)
        table.create_index(table.f("ix_sweep_name"), ["name"], unique=False)
        table.create_index("ix_sweep_page", ["created_at", "id"], unique=False)
        table.create_index("ix_sweep_state", ["state", "id"], unique=False)
        table.create_index("ix_sweep_updated", ["updated_at", "id"], unique=False)
    op.create_table(
        "rung_score",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("trial", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("epochs", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("score", sa.Double(), nullable=True),
        sa.Column("is_reached", sa.Boolean(), nullable=False),
        sa.Column("reached_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_rung_score_sweep_id_sweep"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sweep_id", "trial", "epochs", name=op.f("pk_rung_score")),
        sa.UniqueConstraint("sweep_id", "step", name=op.f("uq_rung_score_sweep_id_step")),
    )
    op.create_table(
        "sweep_trial",
        sa.Column("sweep_id", sa.String(length=32), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("source", sa.String(32), nullable=False),
        sa.Column("parameters", sa.JSON().with_variant(postgresql.JSONB(), "postgresql"), nullable=False),
        sa.Column("epochs", sa.Integer(), nullable=False),
        sa.Column("parent_number", sa.Integer(), nullable=True),
        sa.Column("parent_epochs", sa.Integer(), nullable=True),
        sa.Column("interruptions", sa.Integer(), nullable=False),
        sa.Column("best_score", sa.Double(), nullable=True),
        sa.Column("reason", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["sweep_id"], ["sweep.id"], name=op.f("fk_sweep_trial_sweep_id_sweep"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("sweep_id", "number", name=op.f("pk_sweep_trial")),
    )
    with op.batch_alter_table("sweep_trial") as table:
        table.create_index("ix_sweep_trial_score", ["sweep_id", "best_score", "number"], unique=False)
        table.create_index("ix_sweep_trial_state", ["sweep_id", "state"], unique=False)
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("sweep_id", sa.String(length=32), nullable=True))
        table.add_column(sa.Column("sweep_trial", sa.Integer(), nullable=True))
        table.add_column(sa.Column("sweep_repeat", sa.Integer(), nullable=True))
        table.create_index(
            "ix_job_sweep",
            ["sweep_id", "sweep_trial", "sweep_repeat"],
            unique=True,
            sqlite_where=sa.text("sweep_id IS NOT NULL"),
            postgresql_where=sa.text("sweep_id IS NOT NULL"),
        )
    with op.batch_alter_table("idempotency_key") as table:
        table.alter_column("job_id", new_column_name="subject_id")  # of a job or a sweep


def downgrade() -> None:
    with op.batch_alter_table("idempotency_key") as table:
        table.alter_column("subject_id", new_column_name="job_id")
    with op.batch_alter_table("job") as table:
        table.drop_index("ix_job_sweep")
        table.drop_column("sweep_repeat")
        table.drop_column("sweep_trial")
        table.drop_column("sweep_id")
    with op.batch_alter_table("sweep_trial") as table:
        table.drop_index("ix_sweep_trial_state")
        table.drop_index("ix_sweep_trial_score")
    op.drop_table("sweep_trial")
    op.drop_table("rung_score")
    with op.batch_alter_table("sweep") as table:
        table.drop_index("ix_sweep_updated")
        table.drop_index("ix_sweep_state")
        table.drop_index("ix_sweep_page")
        table.drop_index(table.f("ix_sweep_name"))
        table.drop_index(table.f("ix_sweep_dataset_version_id"))
    op.drop_table("sweep")
