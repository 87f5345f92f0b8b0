"""Adds indexes of filtered lists of jobs, and what the retention of events and metrics needs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "c4e6f81b92d7"
down_revision: str | None = "1f7c93a5e2b8"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = {
    "ix_job_state_created": ["state", "created_at", "id"],
    "ix_job_kind_created": ["kind", "created_at", "id"],
    "ix_job_name_created": ["name", "created_at", "id"],
    "ix_job_model_created": ["model_name", "created_at", "id"],
    "ix_job_dataset_created": ["dataset_version_id", "created_at", "id"],
    "ix_job_points_finished": ["has_deleted_points", "finished_at", "id"],
    "ix_job_events_finished": ["has_expired_events", "finished_at", "id"],
}
COLUMNS = ("has_expired_points", "has_deleted_points", "has_expired_events")
REPLACED = {"ix_job_model": ["model_name", "created_at"], "ix_job_dataset": ["dataset_version_id", "created_at"]}


def upgrade() -> None:
    for name in REPLACED:
        op.drop_index(name, table_name="job")
    for name in COLUMNS:
        op.add_column("job", sa.Column(name, sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, columns in INDEXES.items():
        op.create_index(name, "job", columns)
    op.execute("DELETE FROM system_report WHERE name = 'retention'")  # it gets new fields in the next round
    op.add_column("job_tag", sa.Column("created_at", sa.DateTime(timezone=True), nullable=True))
    op.execute("UPDATE job_tag SET created_at = (SELECT job.created_at FROM job WHERE job.id = job_tag.job_id)")
    with op.batch_alter_table("job_tag") as table:
        table.alter_column("created_at", existing_type=sa.DateTime(timezone=True), nullable=False)
    op.drop_index("ix_job_tag_tag", table_name="job_tag")
    op.create_index("ix_job_tag_created", "job_tag", ["tag", "created_at", "job_id"])


def downgrade() -> None:
    op.execute("DELETE FROM system_report WHERE name = 'retention'")
    op.drop_index("ix_job_tag_created", table_name="job_tag")
    op.create_index("ix_job_tag_tag", "job_tag", ["tag", "job_id"])
    with op.batch_alter_table("job_tag") as table:
        table.drop_column("created_at")
    for name in INDEXES:
        op.drop_index(name, table_name="job")
    with op.batch_alter_table("job") as table:
        for name in COLUMNS:
            table.drop_column(name)
    for name, columns in REPLACED.items():
        op.create_index(name, "job", columns)
