"""Declares the tables of sweeps: the sweeps, their trials, and the milestones that the trials train up to."""

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from core.db.base import Base
from core.sweeps.states import SweepState, TrialSource, TrialState


class SweepRow(Base):
    """A sweep and its state. Each change of the sweep or of one of its trials increments `revision`.

    A decision is computed without a transaction, and applied only while the sweep still has the same `revision`.
    """

    __tablename__ = "sweep"
    __table_args__ = (
        Index("ix_sweep_page", "created_at", "id"),
        Index("ix_sweep_state", "state", "id"),
        Index("ix_sweep_updated", "updated_at", "id"),
    )

    id: Mapped[str] = mapped_column(String(32), primary_key=True)
    name: Mapped[str] = mapped_column(String(63), index=True)
    model_name: Mapped[str] = mapped_column(String(63))
    spec: Mapped[dict[str, Any]] = mapped_column(deferred=True)  # a `SweepSpec`; its base names a dataset version
    dataset_version_id: Mapped[str | None] = mapped_column(String(32), ForeignKey("dataset_version.id"), index=True)
    state: Mapped[SweepState]
    finish_reason: Mapped[str | None] = mapped_column(String(64))  # why it ended, see `core.sweeps.decisions`
    revision: Mapped[int] = mapped_column(default=0)
    num_steps: Mapped[int] = mapped_column(default=0)  # decisions that started or continued a trial
    num_trials: Mapped[int] = mapped_column(default=0)  # without refused ones and copies
    num_refused: Mapped[int] = mapped_column(default=0)
    num_epochs: Mapped[int] = mapped_column(default=0)  # spent, or reserved until the next milestones
    best_trial: Mapped[int | None]  # the number of the trial with the best score so far
    best_score: Mapped[float | None]
    registered_version: Mapped[int | None]  # the model version of the best trial, after the end
    active_s: Mapped[float] = mapped_column(default=0.0)  # seconds in state running, until `active_since`
    active_since: Mapped[datetime | None]  # null unless it is running
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    finished_at: Mapped[datetime | None]


class SweepTrialRow(Base):
    """A trial of a sweep. Its jobs are the rows of `job` with its `sweep_id` and `sweep_trial`."""

    __tablename__ = "sweep_trial"
    __table_args__ = (
        Index("ix_sweep_trial_score", "sweep_id", "best_score", "number"),
        Index("ix_sweep_trial_state", "sweep_id", "state"),
    )

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    state: Mapped[TrialState]
    source: Mapped[TrialSource]
    parameters: Mapped[dict[str, Any]]  # {JSON pointer: value}
    epochs: Mapped[int]  # the milestone up to which it trains, or has trained
    parent_number: Mapped[int | None]  # the trial whose checkpoint a copy continues, and the epoch of the checkpoint
    parent_epochs: Mapped[int | None]
    interruptions: Mapped[int] = mapped_column(default=0)  # how often its worker was lost
    best_score: Mapped[float | None]  # null until a milestone has a finite score
    reason: Mapped[str | None] = mapped_column(String(255))  # why it was stopped or refused, or failed
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]


class RungScoreRow(Base):
    """A milestone of a trial: the step of the sweep that ordered it, and the score there once it is reached."""

    __tablename__ = "rung_score"
    __table_args__ = (UniqueConstraint("sweep_id", "step"),)

    sweep_id: Mapped[str] = mapped_column(ForeignKey("sweep.id", ondelete="CASCADE"), primary_key=True)
    trial: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    epochs: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    step: Mapped[int]  # 0, 1, 2, … in the order of the decisions
    score: Mapped[float | None]  # null: not reached, or not finite
    is_reached: Mapped[bool] = mapped_column(default=False)
    reached_at: Mapped[datetime | None]
