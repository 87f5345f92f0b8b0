"""Lists, controls and deletes sweeps. `sweep_submission.py` submits sweeps and adds trials."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy.orm import Session

from core.db.repos.sweep_lists import Rung, SweepFilter, SweepListRepo, SweepView
from core.db.repos.sweeps import SweepRepo
from core.db.repos.trial_lists import TrialListRepo, TrialOrder, TrialView
from core.db.session import on_commit
from core.errors import Conflict
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
