"""Declares the tables that are derived from metric curves: rollups of points, and summaries for lists of jobs."""

from sqlalchemy import BigInteger, ForeignKey, Index, String
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base

METADATA = Base.metadata


class MetricRollupRow(Base):
    """The summary of the points of a metric curve in a block of `level` steps: [bucket * level, (bucket + 1) * level).

    The points of a block whose values are first, last, lowest, highest and first not finite are stored with their
    steps and epochs, so that a curve can be drawn from rollups alone.
    """

    __tablename__ = "metric_rollup"
    # On SQLite, rows are stored in the order of the primary key: a curve is one range of the file.
    __table_args__ = ({"sqlite_with_rowid": False},)

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    split: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    bucket: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    num_finite: Mapped[int]
    num_special: Mapped[int]  # points whose value is not finite
    first_step: Mapped[int] = mapped_column(BigInteger)
    first_epoch: Mapped[int]
    first_elapsed_ms: Mapped[int | None] = mapped_column(BigInteger)
    first_value: Mapped[float | None]  # null if not finite
    first_special: Mapped[str | None] = mapped_column(String(9))
    last_step: Mapped[int] = mapped_column(BigInteger)
    last_epoch: Mapped[int]
    last_elapsed_ms: Mapped[int | None] = mapped_column(BigInteger)
    last_value: Mapped[float | None]
    last_special: Mapped[str | None] = mapped_column(String(9))
    min_step: Mapped[int | None] = mapped_column(BigInteger)  # null if no value is finite
    min_epoch: Mapped[int | None]
    min_value: Mapped[float | None]
    max_step: Mapped[int | None] = mapped_column(BigInteger)
    max_epoch: Mapped[int | None]
    max_value: Mapped[float | None]
    special_step: Mapped[int | None] = mapped_column(BigInteger)  # the first point that is not finite
    special_epoch: Mapped[int | None]
    special_kind: Mapped[str | None] = mapped_column(String(9))


class MetricSummaryRow(Base):
    """The last and the best value of a metric of a job, such as `valid_accuracy`. Lists of jobs are sorted by it."""

    __tablename__ = "metric_summary"
    __table_args__ = (
        Index("ix_metric_summary_best", "name", "best", "job_id"),
        Index("ix_metric_summary_last", "name", "last", "job_id"),
    )

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(96), primary_key=True)
    last: Mapped[float | None]  # null if not finite
    best: Mapped[float | None]  # null if no value was finite
    best_epoch: Mapped[int | None]  # null if the value does not belong to an epoch
