"""Adds jobs that wait for datasets, and canary times of workers."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "5c1f0d7b2a91"
down_revision: str | None = "a93d4818ebe4"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    with op.batch_alter_table("job") as table:
        table.add_column(sa.Column("is_resolved", sa.Boolean(), server_default=sa.true(), nullable=False))
    with op.batch_alter_table("worker") as table:
        table.add_column(sa.Column("took_at", sa.DateTime(timezone=True), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("worker") as table:
        table.drop_column("took_at")
    with op.batch_alter_table("job") as table:
        table.drop_column("is_resolved")
