"""Declares the database tables. The queries are in `repos/`."""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    String,
    Text,
    UnaryExpression,
    UniqueConstraint,
    desc,
    false,
    text,
    true,
)
from sqlalchemy.orm import Mapped, mapped_column

from core.db import metric_tables, queue_tables, registry_tables, sweep_tables, upload_tables
from core.db.base import Base
from core.events import EventType
from core.jobs import DatasetState, JobState, StopRequest

# The imports declare the other tables.
OTHER_TABLES = (metric_tables, queue_tables, registry_tables, sweep_tables, upload_tables)
METADATA = Base.metadata


class DatasetVersionRow(Base):
    """An immutable version of a dataset. When the version is ready, `packed_key` is the storage key of its files."""

    __tablename__ = "dataset_version"
    __table_args__ = (UniqueConstraint("name", "version"), UniqueConstraint("name", "source_key"))

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63))
    version: Mapped[int]
    state: Mapped[DatasetState]
    # {"kind": "builtin", "options": {…}}, {"kind": "upload", "key": …, "options": {…}} or
    # {"kind": "edit", "base": {id, name, version}, "operations": […], "options": {}}
    source: Mapped[dict[str, Any]]
    source_key: Mapped[str] = mapped_column(String(128))  # built-in dataset: hash of its options; upload: version id
    meta: Mapped[dict[str, Any] | None]  # the fields of PackedMeta; null until the version is ready
    report: Mapped[dict[str, Any] | None]
    failure: Mapped[dict[str, Any] | None]  # {code, message, hint}
    content_hash: Mapped[str | None] = mapped_column(String(64))
    packed_key: Mapped[str | None] = mapped_column(String(255))
    owner: Mapped[str | None] = mapped_column(String(128))
    token: Mapped[int] = mapped_column(default=0)
    lease_until: Mapped[datetime | None]
    attempt: Mapped[int] = mapped_column(default=0)
    created_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


def _build_queue_index(name: str, *columns: str | UnaryExpression[Any], is_resolved: bool | None = None) -> Index:
    """Build an index of the queued jobs only, which costs other jobs nothing.

    Its first column is constant, but SQLite prefers an index with a column that a query compares with a constant.
    """
    sqlite = postgresql = "state = 'queued'"
    if is_resolved is not None:
        sqlite += f" AND is_resolved = {int(is_resolved)}"
        postgresql += " AND is_resolved" if is_resolved else " AND NOT is_resolved"
    return Index(name, "state", *columns, sqlite_where=text(sqlite), postgresql_where=text(postgresql))


_IS_TRIAL: dict[str, Any] = {f"{name}_where": text("sweep_id IS NOT NULL") for name in ("sqlite", "postgresql")}


class JobRow(Base):
    """A job, its state and its current attempt. An attempt can write only while the job has the attempt's `token`."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_page", "created_at", "id"),
        # Queries must contain these conditions word for word, so `is_queued` in `repos/job_queue.py` builds them.
        _build_queue_index("ix_job_queue", desc("priority"), "created_at", "id"),
        _build_queue_index(
            "ix_job_queue_device", "requires_gpu", desc("priority"), "created_at", "id", is_resolved=True
        ),
        _build_queue_index("ix_job_unresolved", "dataset_version_id", "created_at", "id", is_resolved=False),
        Index("ix_job_resume_from", "resume_from_job_id", "state"),
        Index("ix_job_lease", "state", "lease_until"),
        Index("ix_job_event_at", "event_at", "id"),
        Index("ix_job_name_page", "name", "id"),  # these three serve sorted lists, as does ix_job_page
        Index("ix_job_state_page", "state", "id"),
        Index("ix_job_duration_page", "duration_s", "id"),
        Index("ix_job_state_created", "state", "created_at", "id"),  # these five serve filtered lists, newest first
        Index("ix_job_kind_created", "kind", "created_at", "id"),
        Index("ix_job_name_created", "name", "created_at", "id"),
        Index("ix_job_model_created", "model_name", "created_at", "id"),
        Index("ix_job_dataset_created", "dataset_version_id", "created_at", "id"),
        Index("ix_job_sweep", "sweep_id", "sweep_trial", "sweep_repeat", unique=True, **_IS_TRIAL),
        Index("ix_job_finished", "finished_at", "id"),  # this one and the next two are for retention
        Index("ix_job_points_finished", "has_deleted_points", "finished_at", "id"),
        Index("ix_job_events_finished", "has_expired_events", "finished_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    kind: Mapped[str] = mapped_column(String(32))
    name: Mapped[str] = mapped_column(String(63))
    model_name: Mapped[str] = mapped_column(String(63))
    spec: Mapped[dict[str, Any]] = mapped_column(deferred=True)
    # false until the spec has been validated for its dataset
    is_resolved: Mapped[bool] = mapped_column(default=True, server_default=true())
    dataset_version_id: Mapped[str | None] = mapped_column(
        String(32), ForeignKey("dataset_version.id")
    )  # null for a job that reads no dataset
    parent_id: Mapped[str | None] = mapped_column(String(32))
    traceparent: Mapped[str | None] = mapped_column(String(55))  # W3C trace context of the request that created the job

    state: Mapped[JobState]
    priority: Mapped[int] = mapped_column(default=0)
    queued_at: Mapped[datetime | None]  # time at which the job was last queued, or resolved if that was later
    # These columns repeat fields of the spec, so that indexes serve them.
    requires_gpu: Mapped[bool] = mapped_column(default=False, server_default=false())
    resume_from_job_id: Mapped[str | None] = mapped_column(String(32))
    stop_request: Mapped[StopRequest | None]
    stop_reason: Mapped[str | None] = mapped_column(String(255))
    failure: Mapped[dict[str, Any] | None]  # {code, message, hint, retryable, …extra}
    warnings: Mapped[list[Any]]  # [text, …]
    runtime: Mapped[dict[str, Any] | None]  # reported by the trainer: device, precision, threads, versions
    progress: Mapped[dict[str, Any]]  # {epoch, epochs, step, steps, eta_seconds, steps_per_epoch}
    metrics: Mapped[dict[str, Any]]  # {name: value in the last epoch}; non-finite values are strings
    metrics_best: Mapped[dict[str, Any] | None]  # {epoch, metrics} of the epoch whose weights `keep_best` registers
    milestone_epoch: Mapped[int] = mapped_column(default=0, server_default="0")  # at which it paused last; 0: none
    extension: Mapped[dict[str, Any] | None]  # the fields of `core.spec.extension.Extension`; null if not extended
    result: Mapped[dict[str, Any] | None] = mapped_column(deferred=True)  # the result of a job that creates no model
    model_version: Mapped[int | None]

    attempt: Mapped[int] = mapped_column(default=0)  # number of attempts started
    lost_attempts: Mapped[int] = mapped_column(default=0)  # attempts that count against the retry limit
    token: Mapped[int] = mapped_column(default=0)  # fencing token; each claim increments it
    owner: Mapped[str | None] = mapped_column(String(128))
    lease_until: Mapped[datetime | None]
    event_seq: Mapped[int] = mapped_column(default=0)
    # false for jobs of earlier versions until maintenance has built the rollups of their curves
    has_rollups: Mapped[bool] = mapped_column(default=True, server_default=false())
    # deleted by retention: the checkpoints, the points of the curves, the events except for states and the last one
    has_expired_checkpoints: Mapped[bool] = mapped_column(default=False, server_default=false())
    has_expired_points: Mapped[bool] = mapped_column(default=False, server_default=false())  # some, at least
    has_deleted_points: Mapped[bool] = mapped_column(default=False, server_default=false())  # all of them
    has_expired_events: Mapped[bool] = mapped_column(default=False, server_default=false())
    event_at: Mapped[datetime | None]  # time of the newest event; null if an earlier version stored it

    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    duration_s: Mapped[float | None]  # from the first attempt to the end; null until the job ends
    tags: Mapped[list[Any]] = mapped_column(default=list, server_default="[]")  # as in `JobTagRow`, in the user's order
    note: Mapped[str | None] = mapped_column(Text)  # Markdown of the user
    sweep_id: Mapped[str | None] = mapped_column(String(32))  # null unless the job is one of the repeats of a trial
    sweep_trial: Mapped[int | None]
    sweep_repeat: Mapped[int | None]


class JobEventRow(Base):
    """An event of a job. A counter in the locked row of the job assigns `seq` in commit order."""

    __tablename__ = "job_event"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    type: Mapped[EventType]
    at: Mapped[datetime]
    payload: Mapped[dict[str, Any]]


class MetricPointRow(Base):
    """A point of a metric curve. An attempt that resumes first deletes the points after its checkpoint."""

    __tablename__ = "metric_point"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    split: Mapped[str] = mapped_column(String(16), primary_key=True)
    name: Mapped[str] = mapped_column(String(64), primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    epoch: Mapped[int]
    value: Mapped[float | None]  # null if not finite
    special: Mapped[str | None] = mapped_column(String(9))  # "NaN", "Infinity" or "-Infinity"
    elapsed_ms: Mapped[int | None] = mapped_column(BigInteger)  # training time before the point, over all attempts


class CheckpointRow(Base):
    """A stored snapshot of a job. Maintenance deletes stored files that no row refers to."""

    __tablename__ = "checkpoint"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    token: Mapped[int]
    epoch: Mapped[int]
    step: Mapped[int] = mapped_column(BigInteger)
    metrics: Mapped[dict[str, Any]]
    tags: Mapped[list[Any]]  # "latest", "best", "kept"
    key: Mapped[str] = mapped_column(String(255), index=True)  # storage key of a folder
    files: Mapped[dict[str, Any]]  # {file name: {"sha256": …, "size_bytes": …}}
    sha256: Mapped[str] = mapped_column(String(64))  # hash of weights.safetensors
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class ArtifactRow(Base):
    """A file that a job wrote in addition to its model. Maintenance deletes stored files that no row refers to."""

    __tablename__ = "artifact"

    job_id: Mapped[str] = mapped_column(ForeignKey("job.id", ondelete="CASCADE"), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    token: Mapped[int]
    media_type: Mapped[str] = mapped_column(String(100))
    key: Mapped[str] = mapped_column(String(255))  # storage key of a folder that contains only this file
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class ModelVersionRow(Base):
    """An immutable version of a model: its bundle, and the job, spec and dataset that it was trained with."""

    __tablename__ = "model_version"
    __table_args__ = (UniqueConstraint("job_id", "job_token"),)

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    job_id: Mapped[str] = mapped_column(String(32), index=True)
    job_token: Mapped[int]
    key: Mapped[str] = mapped_column(String(255), index=True)
    files: Mapped[dict[str, Any]]
    sha256: Mapped[str] = mapped_column(String(64))
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    bundle: Mapped[dict[str, Any]]  # bundle.json: architecture, input, classes, preprocessing, …
    spec: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    dataset: Mapped[dict[str, Any]]  # {name, version, content_hash}; empty if registered without training
    num_parameters: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]


class ModelVariantRow(Base):
    """A variant of a model version, at most one per format. Its files are result files of the job that created it."""

    __tablename__ = "model_variant"
    __table_args__ = (
        ForeignKeyConstraint(["name", "version"], ["model_version.name", "model_version.version"], ondelete="CASCADE"),
    )

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    format: Mapped[str] = mapped_column(String(32), primary_key=True)
    job_id: Mapped[str] = mapped_column(String(32))
    key: Mapped[str] = mapped_column(String(255), index=True)
    files: Mapped[dict[str, Any]]  # {file name: {"sha256": …, "size_bytes": …}}
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    measured: Mapped[dict[str, Any]]  # the job's result: precision, before, after, max_logit_difference, speed_ratio, …
    created_at: Mapped[datetime]


class ModelAliasRow(Base):
    """A mutable alias of a model version or of one of its variants."""

    __tablename__ = "model_alias"

    name: Mapped[str] = mapped_column(String(63), primary_key=True)
    alias: Mapped[str] = mapped_column(String(63), primary_key=True)
    version: Mapped[int]
    variant: Mapped[str | None] = mapped_column(String(32))  # format of the variant


class IdempotencyRow(Base):
    """An idempotency key with the hash of its request and the id of the created job or sweep."""

    __tablename__ = "idempotency_key"

    key: Mapped[str] = mapped_column(String(255), primary_key=True)
    request_hash: Mapped[str] = mapped_column(String(64))
    subject_id: Mapped[str] = mapped_column(String(32))
    created_at: Mapped[datetime]


class BrowserSessionRow(Base):
    """A session of a web browser, which an API key opened. `digest` depends on the key and on the cookie."""

    __tablename__ = "browser_session"
    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    created_at: Mapped[datetime]
    used_at: Mapped[datetime] = mapped_column(index=True)  # updated once a minute at most
    expires_at: Mapped[datetime]
