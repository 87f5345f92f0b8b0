"""Declares the tables of descriptions, tags and version counters of models and datasets, and of system reports."""

from datetime import datetime
from typing import Any

from sqlalchemy import Index, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base


class ResourceDescriptionRow(Base):
    """The description and the tags of a model, a dataset, or a version. Version 0 is the whole model or dataset."""

    __tablename__ = "resource_description"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)  # "model" or "dataset"
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    description: Mapped[str | None] = mapped_column(Text)  # Markdown of the user
    tags: Mapped[list[Any]]  # as in `ResourceTagRow`, in the user's order


class ResourceTagRow(Base):
    """A tag of a model, a dataset or a version, for lists of models and datasets with a tag."""

    __tablename__ = "resource_tag"
    __table_args__ = (Index("ix_resource_tag_tag", "kind", "tag", "name"),)

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)


class VersionCounterRow(Base):
    """The highest number of a deleted version. Later versions get higher numbers, so that a number has one meaning."""

    __tablename__ = "version_counter"

    kind: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    last_deleted: Mapped[int]


class SystemReportRow(Base):
    """A report that maintenance computes and `GET /v1/system` shows, such as the disk usage."""

    __tablename__ = "system_report"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    content: Mapped[dict[str, Any]]
    computed_at: Mapped[datetime]
