"""Adds the time of the newest event of jobs, and sessions of browsers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "b2d94e61c7f8"
down_revision: str | None = "d2b90f6ac714"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("event_at", sa.DateTime(timezone=True), nullable=True))
        table.create_index("ix_job_event_at", ["event_at", "id"])
    op.create_table(
        "browser_session",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("used_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_browser_session")),
    )
    op.create_index("ix_browser_session_used_at", "browser_session", ["used_at"])


def downgrade() -> None:
    op.drop_table("browser_session")
    with op.batch_alter_table("job") as table:
        table.drop_index("ix_job_event_at")
        table.drop_column("event_at")
