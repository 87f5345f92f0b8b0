"""Reads what event streams need from the database. Each method is one read transaction."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from app.services.event_position import EventPosition
from app.services.sweep_stream import RecentSweeps
from core.db.repos.events import EventRepo, JobChange
from core.db.repos.sweep_changes import SweepChangeRepo
from core.db.repos.sweep_lists import SweepListRepo, SweepView
from core.db.session import SessionFactory, transaction
from core.events import Event
from core.jobs import TERMINAL

PAGE_SIZE, SWEEP_PAGE_SIZE = 500, 100
SETTLED_S = 60.0
"""Seconds after which no event with an earlier time can appear anymore.

An event gets its time before its transaction commits, so that events of different jobs can become visible in another
order than that of their times. A transaction of this service waits for nothing, so it ends much sooner.
"""


class EventState(NamedTuple):
    """The number of a job's newest event, and whether the job has ended."""

    seq: int
    has_ended: bool


class RecentChanges(NamedTuple):
    """The jobs with an event in the last `SETTLED_S` seconds, or since the previous read if that was earlier.

    `settled_at` is a time up to which all events are visible.
    """

    changes: Sequence[JobChange]
    settled_at: datetime


class EventReader:
    """Reads events and their numbers."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions

    def read_page(self, job_id: str, after: int) -> list[Event]:
        """Return the first events of a job with a number above `after`."""
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).list_after(job_id, after, limit=PAGE_SIZE)

    def read_states(self, job_ids: Sequence[str]) -> dict[str, EventState]:
        """Return the states of those jobs that exist."""
        states: dict[str, EventState] = {}
        with transaction(self._sessions, read_only=True) as session:
            for start in range(0, len(job_ids), PAGE_SIZE):
                for job_id, state, seq in EventRepo(session).list_event_numbers(job_ids[start : start + PAGE_SIZE]):
                    states[job_id] = EventState(seq, state in TERMINAL)
        return states

    def read_changes(self, after: tuple[datetime, str]) -> list[JobChange]:
        """Return the first jobs whose newest event is later than `after`, a time and a job id."""
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).list_changes(after, PAGE_SIZE)

    def read_recent(self, previous: datetime) -> RecentChanges:
        """Return the jobs with a recent event. `previous` is the `settled_at` of the previous read."""
        with transaction(self._sessions, read_only=True) as session:
            return _list_recent(EventRepo(session), previous)

    def get_number_at(self, job_id: str, at: datetime) -> int:
        """Return the number of a job's last event that is not later than `at`, or 0 if there is none."""
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).get_number_at(job_id, at)

    def get_present(self) -> EventPosition:
        """Return the position after all events that are visible now."""
        with transaction(self._sessions, read_only=True) as session:
            recent = _list_recent(EventRepo(session), None)
        position = EventPosition(recent.settled_at)
        for change in recent.changes:
            position.set_number(change.job_id, change.seq, change.at)
        return position

    def get_time(self) -> datetime:
        """Return the current time of the clock that gives events their times."""
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).get_time()

    def read_changed_sweeps(self, after: tuple[datetime, str]) -> list[SweepView]:
        """Return the first sweeps that changed after a time and an id, in the order of their changes."""
        with transaction(self._sessions, read_only=True) as session:
            return SweepListRepo(session).build_views(SweepChangeRepo(session).list_after(after, SWEEP_PAGE_SIZE))

    def read_recent_sweeps(
        self, followed: Collection[str], cached: Mapping[str, int], previous: datetime | None
    ) -> RecentSweeps:
        """Return the sweeps that changed in the last `SETTLED_S` seconds, or since `previous`, and those of `followed`.

        `cached` are the revisions whose views are not read again.
        """
        ids = list(followed)
        with transaction(self._sessions, read_only=True) as session:
            settled_at = EventRepo(session).get_time() - timedelta(seconds=SETTLED_S)
            sweeps = SweepListRepo(session)
            revisions = sweeps.list_changes(settled_at if previous is None else min(settled_at, previous))
            for start in range(0, len(ids), PAGE_SIZE):
                revisions |= sweeps.list_revisions(ids[start : start + PAGE_SIZE])
            changed = [sweep_id for sweep_id, revision in revisions.items() if cached.get(sweep_id) != revision]
            views = list[SweepView]()
            for start in range(0, len(changed), PAGE_SIZE):
                views += sweeps.list_views(changed[start : start + PAGE_SIZE])
        return RecentSweeps(views, revisions, settled_at)


def _list_recent(events: EventRepo, previous: datetime | None) -> RecentChanges:
    settled_at = events.get_time() - timedelta(seconds=SETTLED_S)
    changes: list[JobChange] = []
    after = (settled_at if previous is None else min(settled_at, previous), "")
    while page := events.list_changes(after, PAGE_SIZE):
        changes += page
        after = (page[-1].at, page[-1].job_id)
    return RecentChanges(changes, settled_at)
