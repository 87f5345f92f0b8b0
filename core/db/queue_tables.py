"""Declares the tables of the queue: the messages that have not been sent yet, and the workers that receive them."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Index, Integer, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base

BigId = BigInteger().with_variant(Integer, "sqlite")  # SQLite generates ids only for INTEGER, not for BIGINT


class OutboxRow(Base):
    """A queue message, stored in the transaction that changes its job or dataset version and sent after the commit."""

    __tablename__ = "outbox"
    __table_args__ = (Index("ix_outbox_subject", "subject_id", "topic"),)

    id: Mapped[int] = mapped_column(BigId, primary_key=True)
    topic: Mapped[str] = mapped_column(String(32))  # "train" or "import"
    subject_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


class WorkerRow(Base):
    """A registered worker."""

    __tablename__ = "worker"

    id: Mapped[str] = mapped_column(String(128), primary_key=True)
    host: Mapped[str] = mapped_column(String(255))
    slots: Mapped[int]
    devices: Mapped[list[Any]]
    versions: Mapped[dict[str, Any]]
    message: Mapped[str | None] = mapped_column(Text)
    started_at: Mapped[datetime]
    beat_at: Mapped[datetime]
    took_at: Mapped[datetime | None]  # time at which the worker last received a message from the queue
