"""Adds tags, notes and durations of jobs, and indexes of sorted lists of jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "f3a8c51d2e96"
down_revision: str | None = "d2b90f6ac714"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

INDEXES = {
    "ix_job_name_page": ["name", "id"],
    "ix_job_state_page": ["state", "id"],
    "ix_job_duration_page": ["duration_s", "id"],
    "ix_job_model": ["model_name", "created_at"],
    "ix_job_dataset": ["dataset_version_id", "created_at"],
}


def upgrade() -> None:
    document = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
    op.add_column("job", sa.Column("duration_s", sa.Double(), nullable=True))
    op.add_column("job", sa.Column("tags", document, server_default="[]", nullable=False))
    op.add_column("job", sa.Column("note", sa.Text(), nullable=True))
    op.create_table(
        "job_tag",
        sa.Column("job_id", sa.String(length=32), nullable=False),
        sa.Column("tag", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"], name=op.f("fk_job_tag_job_id_job"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", "tag", name=op.f("pk_job_tag")),
    )
    op.create_index("ix_job_tag_tag", "job_tag", ["tag", "job_id"])
    _store_durations()
    op.drop_index(op.f("ix_job_name"), table_name="job")
    for name, columns in INDEXES.items():
        op.create_index(name, "job", columns)


def downgrade() -> None:
    for name in INDEXES:
        op.drop_index(name, table_name="job")
    op.create_index(op.f("ix_job_name"), "job", ["name"])
    op.drop_table("job_tag")
    with op.batch_alter_table("job") as table:
        for name in ("note", "tags", "duration_s"):
            table.drop_column(name)


def _store_durations() -> None:
    job = sa.table("job", *(sa.column(name) for name in ("started_at", "finished_at", "duration_s")))
    has_ended = sa.and_(job.c.started_at.is_not(None), job.c.finished_at.is_not(None))
    if op.get_bind().dialect.name == "postgresql":
        seconds = sa.extract("epoch", job.c.finished_at - job.c.started_at)
    else:
        seconds = 86400 * (sa.func.julianday(job.c.finished_at) - sa.func.julianday(job.c.started_at))
    op.execute(job.update().where(has_ended).values(duration_s=seconds))
