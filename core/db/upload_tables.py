"""Declares the tables of resumable uploads."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.jobs import UploadState


class UploadRow(Base):
    """A resumable upload. The request that sends bytes, or the inspection, holds the lease with its `token`."""

    __tablename__ = "upload"
    __table_args__ = (Index("ix_upload_owner", "owner", "id"), Index("ix_upload_expiry", "expires_at"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    owner: Mapped[str] = mapped_column(String(32))  # hash of the API key; empty without keys
    dataset: Mapped[str] = mapped_column(String(63))
    options: Mapped[dict[str, Any]]  # of the import, as `DatasetService.accept_upload` takes them
    metadata_header: Mapped[str] = mapped_column(Text)  # `Upload-Metadata` as the client sent it
    length_bytes: Mapped[int] = mapped_column(BigInteger)
    received_bytes: Mapped[int] = mapped_column(BigInteger, default=0)  # number of stored bytes
    state: Mapped[UploadState]
    token: Mapped[int] = mapped_column(default=0)  # fencing token; each claim increments it
    lease_until: Mapped[datetime | None]
    version: Mapped[int | None]  # of the dataset, once it is created
    problem: Mapped[dict[str, Any] | None]  # {slug, title, detail, errors, extra} of a failed inspection
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]


class UploadPartRow(Base):
    """A stored part of an upload: the bytes from `start_byte`."""

    __tablename__ = "upload_part"

    upload_id: Mapped[str] = mapped_column(ForeignKey("upload.id", ondelete="CASCADE"), primary_key=True)
    start_byte: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    key: Mapped[str] = mapped_column(String(255))  # storage key of a file
