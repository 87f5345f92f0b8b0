"""Declares the tables of descriptions, tags and version counters, of unregistered bundles, and of system reports."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, ForeignKey, Index, String, Text
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


class JobTagRow(Base):
    """A tag of a job, for lists of jobs with a tag."""

    __tablename__ = "job_tag"
    __table_args__ = (Index("ix_job_tag_created", "tag", "created_at", "job_id"),)

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    tag: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime]  # of the job, so that the index has the order of lists


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


class JobBundleRow(Base):
    """The trained network of a job that registers no model version. Its columns are those of `ModelVersionRow`."""

    __tablename__ = "job_bundle"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    token: Mapped[int]  # of the attempt that trained it
    key: Mapped[str] = mapped_column(String(255), index=True)
    files: Mapped[dict[str, Any]]  # {file name: {"sha256": …, "size_bytes": …}}
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    bundle: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    dataset: Mapped[dict[str, Any]]
    num_parameters: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class SystemReportRow(Base):
    """A report that maintenance computes and `GET /v1/system` shows, such as the disk usage."""

    __tablename__ = "system_report"

    name: Mapped[str] = mapped_column(String(32), primary_key=True)
    content: Mapped[dict[str, Any]]
    computed_at: Mapped[datetime]
