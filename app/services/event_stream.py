"""Streams the events of jobs in order: stored events from the database, then new events from the feed of each job."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Generic, TypeVar

from app.services.event_feed import EventFeed, ReadEvents
from app.services.event_position import EventPosition
from core.events import Event, EventType

Item = TypeVar("Item")


class OpenStream(ABC, Generic[Item]):
    """A stream that has a place among the streams of this process, until it is closed.

    Attributes:
        group: what the stream follows; streams of one group share their part of the places.
        position: the events that were yielded so far.
        is_evicted: whether the place was given to another group.

    Args:
        release: function that is called when the stream is closed, also if it is closed again.
    """

    def __init__(self, group: str, position: EventPosition, release: "Callable[[OpenStream[Any]], None]") -> None:
        self.group = group
        self.position = position
        self.is_evicted = False
        self._release = release
        self._changed = asyncio.Event()

    @abstractmethod
    def __aiter__(self) -> AsyncIterator[Item]:
        """Yield the events. Each is in `position` when it is yielded."""

    def wake(self) -> None:
        """Continue the iteration if it waits for events."""
        self._changed.set()

    def evict(self) -> None:
        """Close the stream and end its iteration."""
        self.is_evicted = True
        self.wake()
        self.close()

    def close(self) -> None:
        """Release the place of the stream."""
        self._release(self)


class EventStream(OpenStream[Event]):
    """Yields each event of its jobs exactly once, until all jobs have ended or are deleted, or the stream is evicted.

    Args:
        feeds: the feeds of the jobs.
        read_events: function that reads the events of a job with a number above the given one from the database.
    """

    def __init__(
        self,
        group: str,
        position: EventPosition,
        release: Callable[[OpenStream[Any]], None],
        *,
        feeds: Sequence[EventFeed],
        read_events: ReadEvents,
    ) -> None:
        super().__init__(group, position, release)
        self.feeds = feeds
        self._read_page = read_events
        self._pending = dict.fromkeys(feeds)  # may have events that were not yielded, in the order of the changes
        self._live = set(feeds)  # jobs that have not ended

    def on_change(self, feed: EventFeed) -> None:
        self._pending[feed] = None
        self.wake()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self.is_evicted:
            self._changed.clear()
            while self._pending and not self.is_evicted:
                feed = next(iter(self._pending))
                del self._pending[feed]  # before its events are read, so that no change is missed
                while events := await self._read_next(feed):
                    for event in events:
                        self._record(feed, event)
                        yield event
                self._check_end(feed)
            if not self._live:
                return
            await self._changed.wait()

    async def _read_next(self, feed: EventFeed) -> Sequence[Event]:
        """Return the next events from the memory of the feed, or from the database; none after the eviction."""
        if self.is_evicted:
            return ()
        number = self._get_number(feed)
        events = feed.list_recent(number)
        return await self._read_page(feed.job_id, number) if events is None else events

    def _record(self, feed: EventFeed, event: Event) -> None:
        self.position.add_event(event)
        if event.type is EventType.END:
            self._live.discard(feed)
        else:
            self._live.add(feed)  # extended after its end

    def _check_end(self, feed: EventFeed) -> None:
        """Stop following a job that has no further events."""
        last = self._get_number(feed)
        if feed.is_deleted or (feed.last_number is not None and feed.last_number <= last):
            self._live.discard(feed)

    def _get_number(self, feed: EventFeed) -> int:
        return self.position.find_number(feed.job_id) or 0
