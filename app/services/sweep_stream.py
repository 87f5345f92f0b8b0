"""Streams the changes of sweeps: a poll finds the sweeps that changed, and each stream yields their present state."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from app.services.event_position import EPOCH, EventPosition
from app.services.event_stream import OpenStream
from core.db.repos.sweep_lists import SweepView
from core.sweeps.states import TERMINAL_SWEEP

MAX_RECEIVED = 500
"""Changed sweeps that a stream of all sweeps keeps for a slow client, which then reads them from the database."""
ReadSweeps = Callable[[tuple[datetime, str]], Awaitable[Sequence[SweepView]]]


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
    """Passes the changes of sweeps to all their streams in this process.

    Attributes:
        listeners: the streams that use the feed.
        revisions: the revisions of the sweeps that changed recently or are followed.
        settled_at: a time up to which the streams have received all changes; `EPOCH` before the first read.
    """

    def __init__(self) -> None:
        self.listeners: dict[SweepStream, None] = {}
        self.revisions: Mapping[str, int] = {}
        self.settled_at = EPOCH

    def list_followed(self) -> set[str]:
        """Return the ids of the sweeps that streams follow."""
        return {sweep_id for stream in self.listeners for sweep_id in stream.live}

    def update(self, recent: RecentSweeps, followed: set[str]) -> None:
        """Pass the sweeps that changed to the streams.

        `followed` are the sweeps that were followed when the changes were read.
        """
        self.revisions, self.settled_at = recent.revisions, recent.settled_at
        deleted = followed - recent.revisions.keys()
        for stream in tuple(self.listeners):
            stream.receive(recent.views, deleted, recent.settled_at)


class SweepStream(OpenStream[SweepView]):
    """Yields a sweep whenever its revision is new to the client; revisions between two reads are skipped.

    A stream of all sweeps ends when it is evicted; one of some sweeps also when all of these have ended or are deleted.

    Attributes:
        live: the followed sweeps that have not ended; empty for a stream of all sweeps.

    Args:
        read_sweeps: function that reads the first sweeps that changed after a time and an id from the database, in the
            order of their changes.
    """

    def __init__(
        self,
        group: str,
        position: EventPosition | None,
        release: Callable[[OpenStream[Any]], None],
        *,
        feed: SweepFeed,
        read_sweeps: ReadSweeps,
        sweep_ids: Iterable[str] = (),
    ) -> None:
        super().__init__(group, position or EventPosition(), release)
        self.feed = feed
        self.live = set(sweep_ids)
        self._follows_all = not self.live
        self._read_sweeps = read_sweeps
        self._must_read = False  # whether stored sweeps have changes that were not received
        self._received: dict[str, SweepView] = {}
        self._settled_at = feed.settled_at  # all changes up to this time were received, or can be read

    def start_at(self, recent: RecentSweeps) -> None:
        """Start the stream of all sweeps after the changes that are visible."""
        self.position = EventPosition(recent.settled_at)
        for view in recent.views:
            self._record(view)

    def start_after_position(self) -> None:
        """Start the stream of all sweeps with the stored changes after its position."""
        self._must_read = True

    def start_with(self, stored: Collection[SweepView]) -> bool:
        """Start the stream of some sweeps with their present state. Return whether anything can be yielded."""
        own = [view for view in stored if view.sweep.id in self.live]
        can_yield = any(view.sweep.state not in TERMINAL_SWEEP or self._is_new(view) for view in own)
        self.receive(own, self.live - {view.sweep.id for view in own}, EPOCH)
        return can_yield

    def receive(self, views: Iterable[SweepView], deleted: Collection[str], settled_at: datetime) -> None:
        """Add the present state of sweeps that changed. After that, all changes up to `settled_at` were received."""
        self.live.difference_update(deleted)
        for view in views:
            previous = self._received.get(view.sweep.id)
            if not self._is_new(view):
                self._check_end(view)
            elif previous is None or view.sweep.revision > previous.sweep.revision:
                self._received[view.sweep.id] = view
        self._settled_at = max(self._settled_at, settled_at)
        if self._follows_all and len(self._received) > MAX_RECEIVED:
            self._received.clear()
            self._must_read = True
        self.wake()

    async def __aiter__(self) -> AsyncIterator[SweepView]:
        while not self.is_evicted:
            self._changed.clear()
            if self._must_read:
                async for view in self._read_stored():
                    yield view
                continue
            received, settled_at = sorted(self._received.values(), key=_get_time), self._settled_at
            self._received.clear()
            for view in received:
                if self._is_new(view):
                    self._record(view)
                    yield view
            if self._follows_all:
                self.position.advance_cutoff(max(self.position.cutoff, settled_at))
            elif not self.live:
                return
            await self._changed.wait()

    async def _read_stored(self) -> AsyncIterator[SweepView]:
        """Yield the stored sweeps that changed after the position, and advance the position with them."""
        self._must_read = False
        after, settled_at = (self.position.cutoff, ""), self._settled_at
        while views := await self._read_sweeps(after):
            for view in views:
                if self.is_evicted:
                    return
                if self._is_new(view):
                    self._record(view)
                    yield view
            after = (_get_time(views[-1]), views[-1].sweep.id)
            complete = min(after[0] - timedelta(microseconds=1), settled_at)  # others may have changed at this time
            self.position.advance_cutoff(max(self.position.cutoff, complete))
            settled_at = self._settled_at

    def _record(self, view: SweepView) -> None:
        self.position.set_number(view.sweep.id, view.sweep.revision, view.sweep.updated_at)
        self._check_end(view)

    def _check_end(self, view: SweepView) -> None:
        """Stop following a sweep that has ended. Its last state was yielded."""
        if view.sweep.state in TERMINAL_SWEEP:
            self.live.discard(view.sweep.id)

    def _is_new(self, view: SweepView) -> bool:
        sweep = view.sweep
        if not self._follows_all and sweep.id not in self.live:
            return False
        number = self.position.find_number(sweep.id)
        if number is None:
            return not self._follows_all or sweep.updated_at > self.position.cutoff
        return sweep.revision > number


def _get_time(view: SweepView) -> datetime:
    return view.sweep.updated_at
