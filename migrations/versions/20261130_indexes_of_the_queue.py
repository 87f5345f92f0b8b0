"""Adds what the queue needs to find its next job without reading the others, and indexes of storage keys."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "1f7c93a5e2b8"
down_revision: str | None = "8e41c7d0b35a"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

# name: (columns, condition on SQLite, condition on PostgreSQL)
QUEUE_INDEXES: dict[str, tuple[list[str | sa.TextClause], str, str]] = {
    "ix_job_queue": (["state", sa.text("priority DESC"), "created_at", "id"], "", ""),
    "ix_job_queue_device": (
        ["state", "requires_gpu", sa.text("priority DESC"), "created_at", "id"],
        " AND is_resolved = 1",
        " AND is_resolved",
    ),
    "ix_job_unresolved": (
        ["state", "dataset_version_id", "created_at", "id"],
        " AND is_resolved = 0",
        " AND NOT is_resolved",
    ),
}
FILL = {
    "sqlite": (
        "UPDATE job SET requires_gpu = 1 WHERE json_extract(spec, '$.device') LIKE 'cuda%'",
        "UPDATE job SET resume_from_job_id = json_extract(spec, '$.resume_from.job') "
        "WHERE json_extract(spec, '$.resume_from.job') IS NOT NULL",
    ),
    "postgresql": (
        "UPDATE job SET requires_gpu = true WHERE spec ->> 'device' LIKE 'cuda%'",
        "UPDATE job SET resume_from_job_id = spec #>> '{resume_from,job}' "
        "WHERE spec #>> '{resume_from,job}' IS NOT NULL",
    ),
}


def upgrade() -> None:
    op.add_column("job", sa.Column("queued_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("job", sa.Column("requires_gpu", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("job", sa.Column("resume_from_job_id", sa.String(length=32), nullable=True))
    for statement in FILL[op.get_bind().dialect.name]:
        op.execute(statement)
    op.execute(
        "UPDATE job SET queued_at = coalesce((SELECT max(at) FROM job_event "
        "WHERE job_event.job_id = job.id AND job_event.type = 'state'), created_at) WHERE state = 'queued'"
    )
    op.drop_index("ix_job_queue", table_name="job")
    for name, (columns, sqlite, postgresql) in QUEUE_INDEXES.items():
        queued = "state = 'queued'"
        op.create_index(
            name,
            "job",
            columns,
            sqlite_where=sa.text(queued + sqlite),
            postgresql_where=sa.text(queued + postgresql),
        )
    op.create_index("ix_job_resume_from", "job", ["resume_from_job_id", "state"])
    op.create_index("ix_outbox_subject", "outbox", ["subject_id", "topic"])
    op.create_index("ix_checkpoint_key", "checkpoint", ["key"])
    op.create_index("ix_model_version_key", "model_version", ["key"])


def downgrade() -> None:
    op.drop_index("ix_model_version_key", table_name="model_version")
    op.drop_index("ix_checkpoint_key", table_name="checkpoint")
    op.drop_index("ix_outbox_subject", table_name="outbox")
    for name in ("ix_job_resume_from", *QUEUE_INDEXES):
        op.drop_index(name, table_name="job")
    for name in ("resume_from_job_id", "requires_gpu", "queued_at"):
        op.drop_column("job", name)
    op.create_index("ix_job_queue", "job", ["state", "priority", "created_at"])
