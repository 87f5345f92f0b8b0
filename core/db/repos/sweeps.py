"""Queries for sweeps, their trials and the scores of the trials at milestones."""

import math
import uuid
from collections.abc import Collection, Iterable

from sqlalchemy import select, update
from sqlalchemy.orm import Session, undefer

from core.db.clock import now
from core.db.sweep_tables import RungScoreRow, SweepRow, SweepTrialRow
from core.db.tables import JobRow
from core.errors import NotFound
from core.sweeps.states import SweepState
from core.sweeps.trials import SweepTrial


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

    def list_ids(self, states: Collection[SweepState]) -> list[str]:
        """List the ids of the sweeps in these states, oldest first."""
        query = select(SweepRow.id).where(SweepRow.state.in_(states))
        return list(self._session.scalars(query.order_by(SweepRow.created_at, SweepRow.id)))

    def list_trials(self, sweep_id: str) -> list[SweepTrial]:
        """Return all trials of a sweep with their scores, by number."""
        scores: dict[int, dict[int, float]] = {}
        query = select(RungScoreRow.trial, RungScoreRow.epochs, RungScoreRow.score)
        for trial, epochs, score in self._session.execute(
            query.where(RungScoreRow.sweep_id == sweep_id, RungScoreRow.is_reached)
        ):
            scores.setdefault(trial, {})[epochs] = math.nan if score is None else score
        rows = self._session.scalars(
            select(SweepTrialRow).where(SweepTrialRow.sweep_id == sweep_id).order_by(SweepTrialRow.number)
        )
        return [build_trial(row, scores.get(row.number, {})) for row in rows]

    def list_jobs(self, sweep_id: str, trials: Iterable[int] | None = None) -> list[JobRow]:
        """List the jobs of a sweep by trial and repeat. `trials` selects the jobs of some trials. Default: all."""
        query = select(JobRow).where(JobRow.sweep_id == sweep_id)
        if trials is not None:
            query = query.where(JobRow.sweep_trial.in_(list(trials)))
        return list(self._session.scalars(query.order_by(JobRow.sweep_trial, JobRow.sweep_repeat)))

    def touch(self, sweep_id: str) -> None:
        """Increment the revision of a sweep, so that decisions that were computed before do not apply."""
        values = {"revision": SweepRow.revision + 1, "updated_at": now(self._session)}
        self._session.execute(update(SweepRow).where(SweepRow.id == sweep_id).values(values))


def build_trial(row: SweepTrialRow, scores: dict[int, float]) -> SweepTrial:
    """Build the trial that samplers and schedulers see. `scores` are those of the reached milestones."""
    has_parent = row.parent_number is not None and row.parent_epochs is not None
    return SweepTrial(
        number=row.number,
        state=row.state,
        parameters=row.parameters,
        scores=scores,
        epochs=row.epochs,
        source=row.source,
        parent=(row.parent_number or 0, row.parent_epochs or 0) if has_parent else None,
        interruptions=row.interruptions,
    )
