"""Streams the state changes and the progress of all jobs, also of jobs that are submitted later."""

from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Any, Protocol

from app.services.event_position import EventPosition
from app.services.event_stream import OpenStream
from app.services.topic_feed import TopicFeed
from core.db.repos.events import JobChange
from core.events import Event, EventType

TOPIC_TYPES = frozenset({EventType.STATE, EventType.EPOCH, EventType.PROGRESS, EventType.END})


class EventSource(Protocol):
    """Reads events from the database."""

    async def read_page(self, job_id: str, after: int) -> list[Event]: ...

    async def read_changes(self, after: tuple[datetime, str]) -> list[JobChange]: ...

    async def get_number_at(self, job_id: str, at: datetime) -> int: ...


class TopicStream(OpenStream[Event]):
    """Yields each event of `TOPIC_TYPES` of all jobs after its position exactly once, until it is evicted.

    It first reads the stored events after its position, and then receives new events from the feed. Its position has
    entries for jobs with a recent event only, since it advances with the polls of the feed.
    """

    def __init__(
        self,
        group: str,
        position: EventPosition,
        release: Callable[[OpenStream[Any]], None],
        *,
        feed: TopicFeed,
        source: EventSource,
    ) -> None:
        super().__init__(group, position, release)
        self.feed = feed
        self._source = source
        self._index = feed.num_events  # of the next event of the feed

    async def __aiter__(self) -> AsyncIterator[Event]:
        async for event in self._read_stored():
            yield event
        while not self.is_evicted:
            self._changed.clear()
            events = self.feed.list_recent(self._index)
            if events is None:  # the client reads too slowly
                self._index = self.feed.num_events
                async for event in self._read_stored():
                    yield event
                continue
            self._index += len(events)
            for received in events:
                async for event in self._complete(received):
                    yield event
            if self._index == self.feed.num_events:
                self._advance_cutoff()
                await self._changed.wait()

    async def _read_stored(self) -> AsyncIterator[Event]:
        """Yield the stored events after the position. A job that changes meanwhile is read again."""
        after = (self.position.cutoff, "")
        while changes := await self._source.read_changes(after):
            for change in changes:
                async for event in self._read_job(change.job_id, change.seq):
                    yield event
                after = (change.at, change.job_id)
                if self.is_evicted:
                    return

    async def _complete(self, received: Event) -> AsyncIterator[Event]:
        """Yield an event of the feed, and before it the events of its job that are missing; nothing if it is late."""
        number = await self._get_number(received.job_id, received.seq)
        if received.seq == number + 1:
            self.position.add_event(received)
            if received.type in TOPIC_TYPES:
                yield received
        elif received.seq > number:
            async for event in self._read_job(received.job_id, received.seq):
                yield event

    async def _read_job(self, job_id: str, seq: int) -> AsyncIterator[Event]:
        """Yield the events of a job from the position to at least the number `seq`."""
        number = await self._get_number(job_id, seq)
        while number < seq and (page := await self._source.read_page(job_id, number)):
            for event in page:
                self.position.add_event(event)
                number = event.seq
                if event.type in TOPIC_TYPES:
                    yield event

    async def _get_number(self, job_id: str, seq: int) -> int:
        """Return the number of the last received event of a job of which an event with the number `seq` exists."""
        number = self.position.find_number(job_id)
        if number is None:
            number = 0 if seq == 1 else await self._source.get_number_at(job_id, self.position.cutoff)
            if number:
                self.position.set_number(job_id, number, self.position.cutoff)
        return number

    def _advance_cutoff(self) -> None:
        """Set the cutoff to the time up to which the feed is complete. All its events must have been yielded."""
        if self.feed.settled_at > self.position.cutoff:
            self.position.advance_cutoff(self.feed.settled_at)
