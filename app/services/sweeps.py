"""Lists, controls and deletes sweeps. `sweep_submission.py` submits sweeps and adds trials."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from app.services.validation.report import reject_all
from core.db.repos.sweep_lists import Rung, SweepFilter, SweepListRepo, SweepView
from core.db.repos.sweeps import SweepRepo
from core.db.repos.trial_lists import TrialListRepo, TrialOrder, TrialView
from core.db.session import on_commit
from core.db.sweep_tables import SweepRow
from core.errors import Conflict
from core.spec.base import FieldError
from core.sweeps.rules import find_errors
from core.sweeps.spec import BudgetSpec, SweepSpec
from core.sweeps.states import TERMINAL_SWEEP, TrialState


class SweepDetails(NamedTuple):
    """A sweep with its spec and the milestones of its trials."""

    view: SweepView
    spec: Mapping[str, Any]
    rungs: Sequence[Rung]


class SweepService:
    """Manages sweeps. Every method runs in the caller's transaction.

    Args:
        wake: function that wakes the outbox relay; it is called after the commit.
    """

    def __init__(self, session: Session, *, wake: Callable[[], None]) -> None:
        self._session = session
        self._wake = wake
        self._sweeps = SweepRepo(session)
        self._lists = SweepListRepo(session)

    def list_sweeps(
        self, conditions: SweepFilter, *, cursor: str | None, limit: int
    ) -> tuple[list[SweepView], str | None]:
        """Return a page of sweeps, newest first, and the cursor of the next page.

        Raises:
            InvalidSpec: the cursor is invalid.
        """
        return self._lists.list_page(conditions, cursor=cursor, limit=limit)

    def get_sweep(self, sweep_id: str) -> SweepDetails:
        """Return a sweep. Raises NotFound."""
        row = self._sweeps.get(sweep_id)
        (view,) = self._lists.build_views([row])
        return SweepDetails(view, row.spec, self._lists.list_rungs(sweep_id))

    def list_trials(
        self, sweep_id: str, order: TrialOrder, *, state: TrialState | None, cursor: str | None, limit: int
    ) -> tuple[list[TrialView], str | None]:
        """Return a page of a sweep's trials, and the cursor of the next page.

        Raises:
            NotFound: the sweep does not exist.
            InvalidSpec: the cursor is invalid.
        """
        self._sweeps.get(sweep_id)
        trials = TrialListRepo(self._session, sweep_id)
        return trials.list_page(order, state=state, cursor=cursor, limit=limit)

    def pause_sweep(self, sweep_id: str) -> SweepDetails:
        """Pause a sweep and its jobs. Raises Conflict if its state does not allow it."""
        return self._change(self._sweeps.pause, sweep_id)

    def resume_sweep(self, sweep_id: str) -> SweepDetails:
        """Continue a paused sweep. Raises Conflict for any other sweep."""
        return self._change(self._sweeps.resume, sweep_id)

    def cancel_sweep(self, sweep_id: str) -> SweepDetails:
        """Cancel a sweep and its jobs. Raises Conflict if it has ended otherwise."""
        return self._change(self._sweeps.cancel, sweep_id)

    def finish_sweep(self, sweep_id: str) -> SweepDetails:
        """End a sweep early, with its best trial so far. Raises Conflict if its state does not allow it."""
        return self._change(self._sweeps.finish, sweep_id)

    def extend_sweep(self, sweep_id: str, changes: Mapping[str, Any]) -> SweepDetails:
        """Change the budget of a sweep. `changes` are its new limits; None removes a limit.

        Raises:
            InvalidSpec: the new budget allows no trial or no epoch more.
            Conflict: the state of the sweep does not allow it.
        """
        row = self._sweeps.get(sweep_id, is_locked=True)
        spec = SweepSpec.model_validate(row.spec)
        limits = spec.budget.model_dump() | dict(changes)
        if not any(limit is not None for limit in limits.values()):
            reject_all([("", "at least one limit of the budget must remain: trials, epochs or hours")])
        extended = spec.model_copy(update={"budget": BudgetSpec.model_validate(limits)})
        errors = [(pointer.removeprefix("/budget"), reason) for pointer, reason in find_errors(extended)]
        if errors := errors or _find_spent(extended.budget, row):
            reject_all(errors)
        self._sweeps.extend(sweep_id, extended)
        on_commit(self._session, self._wake)
        return self.get_sweep(sweep_id)

    def delete_sweep(self, sweep_id: str) -> None:
        """Delete a sweep that has ended, with its trials. Its jobs remain.

        Raises:
            Conflict: the sweep has not ended.
        """
        row = self._sweeps.get(sweep_id, is_locked=True)
        if row.state not in TERMINAL_SWEEP:
            allowed = sorted(TERMINAL_SWEEP)
            raise Conflict(f"A sweep that is {row.state} cannot be deleted.", state=row.state, allowed=allowed)
        self._session.delete(row)

    def _change(self, change: Callable[[str], object], sweep_id: str) -> SweepDetails:
        change(sweep_id)
        on_commit(self._session, self._wake)  # jobs may be queued
        return self.get_sweep(sweep_id)


def _find_spent(budget: BudgetSpec, row: SweepRow) -> list[FieldError]:
    """Return an error for each limit of a budget that a sweep has reached already."""
    spent = {"trials": row.num_trials, "epochs": row.num_epochs, "hours": round(row.active_s / 3600, 3)}
    return [
        (f"/{name}", f"must be above {number}, which the sweep has used already; got {limit:g}")
        for name, number in spent.items()
        if (limit := getattr(budget, name)) is not None and limit <= number
    ]
