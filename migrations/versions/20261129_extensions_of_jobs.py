"""Adds extensions and the metrics of the best epoch of jobs."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "c81f5a07d3e6"
down_revision: str | None = "e4b7c2a1905d"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAMES = ("metrics_best", "extension")


def upgrade() -> None:
    document = sa.JSON().with_variant(postgresql.JSONB(astext_type=sa.Text()), "postgresql")
    with op.batch_alter_table("job") as table:
        for name in NAMES:
            table.add_column(sa.Column(name, document, nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("job") as table:
        for name in NAMES:
            table.drop_column(name)
