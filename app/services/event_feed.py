"""Follows the events of one job for all its streams in this process."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from core.bus import Subscription
from core.events import Event

MAX_RECENT = 1000
ReadEvents = Callable[[str, int], Awaitable[list[Event]]]


class FeedListener(Protocol):
    """A stream that is notified when its feed has new events or ends."""

    def on_change(self, feed: "EventFeed") -> None: ...


class EventFeed:
    """Receives the events of a job from the bus once, and keeps the recent ones in memory.

    The bus may lose events. The feed reads them from the database when it detects a gap in the event numbers, or when
    `update` reports a number that it has not received.

    Attributes:
        listeners: the streams that use the feed.
        is_deleted: whether the job was deleted.
        last_number: the number of the last event of a job that has ended, else None.

    Args:
        read_events: function that reads the events of a job with a number above the given one from the database.
        subscription: receives the events of the job from the bus.
    """

    def __init__(self, job_id: str, read_events: ReadEvents, subscription: Subscription) -> None:
        self.job_id = job_id
        self.subscription = subscription
        self.listeners: dict[FeedListener, None] = {}
        self.is_deleted = False
        self.last_number: int | None = None
        self._read_events = read_events
        self._newest: int | None = None  # None: no event is known yet
        self._recent: deque[Event] = deque(maxlen=MAX_RECENT)  # contiguous, and ends with `_newest`

    def list_recent(self, after: int) -> Sequence[Event] | None:
        """Return the events with a number above `after`. Return None if the database must be read instead."""
        if self._newest is None:
            return None
        num_new = self._newest - after
        if num_new > len(self._recent):
            return None
        return [self._recent[offset] for offset in range(-num_new, 0)]

    async def follow(self) -> None:
        """Receive the events of the bus until the task is cancelled."""
        async with self.subscription as subscription:
            async for event in subscription:
                if self._newest is not None and event.seq > self._newest + 1:
                    with suppress(SQLAlchemyError):  # streams that need the missing events read them when they can
                        await self._fill()
                self._add([event])

    async def update(self, newest: int | None, *, has_ended: bool) -> None:
        """Handle the number of the job's newest event in the database; None if the job was deleted."""
        if newest is None:
            self.is_deleted = True
            self._notify()
            return
        if self._newest is None:
            self._newest = newest
            self._notify()
        elif newest > self._newest:
            await self._fill()
        last_number = newest if has_ended else None  # None again after an extension
        if last_number != self.last_number:
            self.last_number = last_number
            self._notify()

    def _notify(self) -> None:
        for listener in tuple(self.listeners):
            listener.on_change(self)

    async def _fill(self) -> None:
        assert self._newest is not None  # noqa: S101 - a gap requires a known number
        while events := await self._read_events(self.job_id, self._newest):
            self._add(events)

    def _add(self, events: Sequence[Event]) -> None:
        for event in events:
            if self._newest is None or event.seq > self._newest:
                if self._newest is not None and event.seq > self._newest + 1:
                    self._recent.clear()  # without the missing events, only later ones are contiguous
                self._newest = event.seq
                self._recent.append(event)
        self._notify()
