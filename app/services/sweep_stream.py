"""Streams the changes of sweeps: a poll finds the sweeps that changed, and each stream yields their present state."""

from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from app.services.event_position import EPOCH, EventPosition
from app.services.event_stream import OpenStream
from core.db.repos.sweep_lists import SweepView
from core.sweeps.states import TERMINAL_SWEEP


class RecentSweeps(NamedTuple):
    """The sweeps that changed recently or are followed.

    Attributes:
        views: those that changed since the previous read.
        revisions: the revisions of all of them.
        settled_at: a time up to which all changes are visible.
    """

    views: Collection[SweepView]
    revisions: Mapping[str, int]
    settled_at: datetime


class SweepFeed:
    """Keeps the recent changes of sweeps for all their streams in this process.

    Attributes:
        listeners: the streams that use the feed.
        views: the sweeps that changed recently or are followed, in their newest revision.
        deleted: sweeps that were followed and do not exist anymore.
        settled_at: a time up to which the streams have received all changes; `EPOCH` before the first read.
    """

    def __init__(self) -> None:
        self.listeners: dict[SweepStream, None] = {}
        self.views: dict[str, SweepView] = {}
        self.deleted = frozenset[str]()
        self.settled_at = EPOCH

    def list_followed(self) -> set[str]:
        """Return the ids of the sweeps that streams follow."""
        return {sweep_id for stream in self.listeners for sweep_id in stream.live}

    def get_revisions(self) -> dict[str, int]:
        """Return the revisions in `views`."""
        return {sweep_id: view.sweep.revision for sweep_id, view in self.views.items()}

    def update(self, recent: RecentSweeps, followed: set[str]) -> None:
        """Add the sweeps that changed, remove those that have not changed for a while, and notify the streams.

        `followed` are the sweeps that were followed when the changes were read.
        """
        self.views |= {view.sweep.id: view for view in recent.views}
        self.views = {sweep_id: view for sweep_id, view in self.views.items() if sweep_id in recent.revisions}
        self.deleted = frozenset(followed - recent.revisions.keys())
        self.settled_at = recent.settled_at
        for stream in tuple(self.listeners):
            stream.wake()


class SweepStream(OpenStream[SweepView]):
    """Yields a sweep whenever its revision is new to the client; revisions between two polls are skipped.

    A stream of all sweeps ends when it is evicted; one of some sweeps also when all of these have ended or are deleted.

    Attributes:
        live: the followed sweeps that have not ended; empty for a stream of all sweeps.
    """

    def __init__(
        self,
        group: str,
        position: EventPosition,
        release: Callable[[OpenStream[Any]], None],
        *,
        feed: SweepFeed,
        sweep_ids: Iterable[str] = (),
    ) -> None:
        super().__init__(group, position, release)
        self.feed = feed
        self.live = set(sweep_ids)
        self._follows_all = not self.live
        self._stored: Collection[SweepView] = ()

    def start(self, stored: Collection[SweepView], deleted: Iterable[str], present: datetime | None) -> bool:
        """Set the sweeps that are yielded before those of the feed. Return whether anything can be yielded.

        Args:
            stored: the followed sweeps, or those that changed recently or since the position.
            deleted: followed sweeps that do not exist anymore.
            present: the new cutoff of the position, if the stream starts after all changes that are visible.
        """
        if present is not None:
            self.position = EventPosition(present)
            for view in stored:
                self.position.set_number(view.sweep.id, view.sweep.revision, view.sweep.updated_at)
        self._stored = stored
        self.live -= set(deleted)
        is_live = any(view.sweep.state not in TERMINAL_SWEEP for view in stored)
        return self._follows_all or is_live or any(self._is_new(view) for view in stored)

    async def __aiter__(self) -> AsyncIterator[SweepView]:
        views = list(self._stored)
        while not self.is_evicted:
            self._changed.clear()
            for view in sorted(views, key=lambda view: view.sweep.updated_at):
                is_new = self._is_new(view)
                if view.sweep.state in TERMINAL_SWEEP:
                    self.live.discard(view.sweep.id)
                if is_new:
                    self.position.set_number(view.sweep.id, view.sweep.revision, view.sweep.updated_at)
                    yield view
            if self._follows_all:
                self.position.advance_cutoff(max(self.position.cutoff, self.feed.settled_at))
            elif not self.live:
                return
            await self._changed.wait()
            views = list(self.feed.views.values())
            self.live -= self.feed.deleted

    def _is_new(self, view: SweepView) -> bool:
        sweep = view.sweep
        if not self._follows_all and sweep.id not in self.live:
            return False
        number = self.position.find_number(sweep.id)
        if number is None:
            return not self._follows_all or sweep.updated_at > self.position.cutoff
        return sweep.revision > number
