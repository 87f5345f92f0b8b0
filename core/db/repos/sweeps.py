"""Queries for sweeps and their trials, and the changes that clients request.

`sweep_trials.py` has the queries that start and end trials.
"""

import math
import uuid
from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, func, select, update
from sqlalchemy.orm import Session, undefer

from core.db.clock import now
from core.db.repos.sweep_trials import NewTrial, SweepTrialRepo
from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.errors import Conflict, NotFound
from core.sweeps.spec import MAX_TRIALS, SweepSpec
from core.sweeps.states import SweepState
from core.sweeps.trials import SweepTrial

CANCELLED, FINISHED_EARLY = "cancelled", "finish_requested"
"""The `finish_reason` of a sweep that a client has cancelled, or finished early."""
_S = SweepState
_ROW = SweepTrialRow
_TRIAL_COLUMNS = (
    _ROW.number,
    _ROW.state,
    _ROW.source,
    _ROW.parameters,
    _ROW.epochs,
    _ROW.parent_number,
    _ROW.parent_epochs,
    _ROW.interruptions,
)


class SweepRepo:
    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, sweep: SweepRow) -> SweepRow:
        """Store a new sweep in state `running`."""
        sweep.id = sweep.id or uuid.uuid4().hex
        sweep.state = SweepState.RUNNING
        sweep.created_at = sweep.updated_at = sweep.active_since = now(self._session)
        self._session.add(sweep)
        self._session.flush()
        self._session.refresh(sweep)
        return sweep

    def find(self, sweep_id: str, *, is_locked: bool = False) -> SweepRow | None:
        """Return a sweep with its spec. A locked sweep cannot be changed by others until the commit."""
        query = select(SweepRow).where(SweepRow.id == sweep_id).options(undefer(SweepRow.spec))
        query = query.execution_options(populate_existing=True)
        return self._session.scalars(query.with_for_update() if is_locked else query).one_or_none()

    def get(self, sweep_id: str, *, is_locked: bool = False) -> SweepRow:
        sweep = self.find(sweep_id, is_locked=is_locked)
        if sweep is None:
            raise NotFound(f"Sweep {sweep_id!r} does not exist.")
        return sweep

    def list_trials(self, sweep_id: str) -> list[SweepTrial]:
        """Return all trials of a sweep with their scores, by number."""
        scores: dict[int, dict[int, float]] = {}
        query = select(RungScoreRow.trial, RungScoreRow.epochs, RungScoreRow.score)
        for trial, epochs, score in self._session.execute(
            query.where(RungScoreRow.sweep_id == sweep_id, RungScoreRow.is_reached)
        ):
            scores.setdefault(trial, {})[epochs] = math.nan if score is None else score
        rows = self._session.execute(
            select(*_TRIAL_COLUMNS).where(SweepTrialRow.sweep_id == sweep_id).order_by(SweepTrialRow.number)
        )
        return [_build_trial(row, scores.get(row.number, {})) for row in rows]

    def list_jobs(self, sweep_id: str, trials: Iterable[int] | None = None) -> list[JobRow]:
        """List the jobs of a sweep by trial and repeat. `trials` selects the jobs of some trials. Default: all."""
        query = select(JobRow).where(JobRow.sweep_id == sweep_id)
        if trials is not None:
            query = query.where(JobRow.sweep_trial.in_(list(trials)))
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat)))

    def list_steps(self, sweep_id: str) -> list[tuple[int, int]]:
        """List the trial and the milestone of each step, in the order of the decisions."""
        query = select(RungScoreRow.trial, RungScoreRow.epochs).where(RungScoreRow.sweep_id == sweep_id)
        return [(trial, epochs) for trial, epochs in self._session.execute(query.order_by(RungScoreRow.step))]

    def pause(self, sweep_id: str) -> SweepRow:
        """Pause a sweep. Maintenance then pauses its jobs. Repeating the request has no effect.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep is not running.
        """
        sweep = self._lock(sweep_id, "paused", {_S.RUNNING, _S.PAUSED})
        if sweep.state is not _S.PAUSED:
            self._stop_clock(sweep)
            self._change(sweep, _S.PAUSED)
        return sweep

    def resume(self, sweep_id: str) -> SweepRow:
        """Continue a paused sweep. Maintenance then resumes the jobs that the sweep has paused.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep is not paused.
        """
        sweep = self._lock(sweep_id, "resumed", {_S.PAUSED})
        self._change(sweep, _S.RUNNING)
        return sweep

    def cancel(self, sweep_id: str) -> SweepRow:
        """Cancel a sweep. It is `finishing` until maintenance has stopped its jobs. No trial is registered.

        Repeating the request has no effect.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep has ended.
        """
        sweep = self._lock(sweep_id, "cancelled", {_S.RUNNING, _S.PAUSED, _S.FINISHING, _S.CANCELLED})
        if sweep.state is not _S.CANCELLED and sweep.finish_reason != CANCELLED:
            self.start_finishing(sweep, CANCELLED)
        return sweep

    def finish(self, sweep_id: str) -> SweepRow:
        """End a sweep early: maintenance stops its running trials and registers the best one.

        Repeating the request has no effect.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep has ended.
        """
        sweep = self._lock(sweep_id, "finished early", {_S.RUNNING, _S.PAUSED, _S.FINISHING})
        if sweep.state is not _S.FINISHING:
            self.start_finishing(sweep, FINISHED_EARLY)
        return sweep

    def extend(self, sweep_id: str, spec: SweepSpec) -> SweepRow:
        """Store a changed spec, for example with a larger budget. A sweep that has ended continues.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep is finishing, or was cancelled.
        """
        sweep = self._lock(sweep_id, "extended", {_S.RUNNING, _S.PAUSED, _S.SUCCEEDED, _S.FAILED})
        sweep.spec = spec.model_dump(mode="json")
        if sweep.state in (_S.SUCCEEDED, _S.FAILED):
            sweep.finish_reason = sweep.finished_at = None
            self._change(sweep, _S.RUNNING)
        else:
            self._change(sweep, sweep.state)
        return sweep

    def plan_trial(self, sweep_id: str) -> tuple[SweepRow, int]:
        """Return a sweep and the number of its next trial.

        Raises:
            NotFound: the sweep does not exist.
            Conflict: the sweep is not running, or has too many trials.
        """
        sweep = self.get(sweep_id)
        _require_state(sweep, "extended by a trial", {_S.RUNNING})
        newest = select(func.max(SweepTrialRow.number)).where(SweepTrialRow.sweep_id == sweep_id)
        number = self._session.scalar(newest)
        following = 0 if number is None else number + 1
        if following >= MAX_TRIALS:
            raise Conflict(f"A sweep has at most {MAX_TRIALS} trials.", state=sweep.state, allowed=[])
        return sweep, following

    def add_trial(self, sweep_id: str, trial: NewTrial) -> SweepTrialRow | None:
        """Start a trial with parameters of a client, also if the sweep has no free slot.

        Return None if another trial has its number meanwhile. Raises the errors of `plan_trial`.
        """
        sweep = self.get(sweep_id, is_locked=True)
        if self.plan_trial(sweep_id)[1] != trial.number:
            return None
        SweepTrialRepo(self._session).start(sweep, trial)
        self.increment_revision(sweep_id)
        return self._session.get_one(SweepTrialRow, (sweep_id, trial.number), populate_existing=True)

    def start_finishing(self, sweep: SweepRow, reason: str) -> None:
        """End a locked sweep: no trial starts any more, and maintenance stops its jobs."""
        self._stop_clock(sweep)
        sweep.finish_reason = reason
        self._change(sweep, _S.FINISHING)

    def end(self, sweep: SweepRow, state: SweepState) -> None:
        """Store that a locked sweep has ended."""
        sweep.finished_at = now(self._session)
        self._change(sweep, state)

    def get_active_s(self, sweep: SweepRow) -> float:
        """Return the seconds during which a sweep was running."""
        if sweep.active_since is None:
            return sweep.active_s
        return compute_active_s(sweep, self._session.scalars(select(now(self._session))).one())

    def lock_unchanged(self, sweep_id: str, revision: int) -> SweepRow | None:
        """Lock a sweep until the commit. Return None if it has changed since this revision, or was deleted."""
        sweep = self.find(sweep_id, is_locked=True)
        return sweep if sweep is not None and sweep.revision == revision else None

    def increment_revision(self, sweep_id: str) -> None:
        """Increment the revision of a sweep, so that decisions that were computed before do not apply."""
        self._session.flush()
        values = {"revision": SweepRow.revision + 1, "updated_at": now(self._session)}
        self._session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(values))

    def _lock(self, sweep_id: str, change: str, allowed: Collection[SweepState]) -> SweepRow:
        sweep = self.get(sweep_id, is_locked=True)
        _require_state(sweep, change, allowed)
        return sweep

    def _stop_clock(self, sweep: SweepRow) -> None:
        sweep.active_s, sweep.active_since = self.get_active_s(sweep), None

    def _change(self, sweep: SweepRow, state: SweepState) -> None:
        if state is _S.RUNNING and sweep.active_since is None:
            sweep.active_since = now(self._session)
        sweep.state = state
        self.increment_revision(sweep.id)
        self._session.refresh(sweep)


def compute_active_s(sweep: SweepRow, at: datetime) -> float:
    """Return the seconds during which a sweep was running until a time of the database."""
    return sweep.active_s + (0.0 if sweep.active_since is None else max((at - sweep.active_since).total_seconds(), 0.0))


def _require_state(sweep: SweepRow, change: str, allowed: Collection[SweepState]) -> None:
    if sweep.state not in allowed:
        detail = f"A sweep that is {sweep.state} cannot be {change}."
        raise Conflict(detail, state=sweep.state, allowed=sorted(allowed))


def _build_trial(row: Row[Any], scores: dict[int, float]) -> SweepTrial:
    """Build the trial that samplers and schedulers see. `scores` are those of the reached milestones."""
    return SweepTrial(
        number=row.number,
        state=row.state,
        parameters=row.parameters,
        scores=scores,
        epochs=row.epochs,
        source=row.source,
        parent=None if row.parent_number is None else (row.parent_number, row.parent_epochs),
        interruptions=row.interruptions,
    )
