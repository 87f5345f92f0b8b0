"""Streams the events of a job in order: stored events from the database, then new events from the bus."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress

from anyio import to_thread

from core.bus import Bus, Subscription
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.errors import NotFound, Overloaded
from core.events import Event, EventType
from core.jobs import TERMINAL

MAX_STREAMS = 500
PAGE_SIZE = 500


class EventStreams:
    """Manages the event streams of this process. A stream that waits for events holds no database connection.

    Args:
        poll_s: if no message arrives from the bus for this many seconds, the database is read; default: 2. An event
            that the bus lost is delayed by at most this time.
    """

    def __init__(self, sessions: SessionFactory, bus: Bus, *, poll_s: float = 2.0) -> None:
        self._sessions = sessions
        self._bus = bus
        self._poll_s = poll_s
        self._num_open = 0

    async def has_more(self, job_id: str, after: int) -> bool:
        """Return True if the job has events with a number above `after`, or if it has not ended.

        Raises:
            NotFound: the job does not exist.
            Overloaded: too many streams are open.
        """
        if self._num_open >= MAX_STREAMS:
            raise Overloaded("Too many event streams are open; try again later.", open=self._num_open)
        return await to_thread.run_sync(self._has_more, job_id, after)

    async def stream_events(self, job_id: str, after: int) -> AsyncIterator[Event]:
        """Yield each event with a number above `after` exactly once, until the job has ended or is deleted."""
        self._num_open += 1
        try:
            async with self._bus.subscribe(job_id) as listener:
                async for event in self._merge_events(job_id, after, listener):
                    yield event
        finally:
            self._num_open -= 1

    async def _merge_events(self, job_id: str, last: int, listener: Subscription) -> AsyncIterator[Event]:
        while True:
            ended = False
            async for event in self._read_events(job_id, last):
                last, ended = event.seq, event.type is EventType.END
                yield event
            while not ended:
                try:
                    event = await asyncio.wait_for(anext(listener), self._poll_s)
                except TimeoutError:
                    break  # the bus may have lost an event: read the database
                if event.seq > last + 1:
                    break  # the bus has lost an event: read the database
                if event.seq == last + 1:
                    last, ended = event.seq, event.type is EventType.END
                    yield event
            if not await self._should_continue(job_id, last):
                return

    async def _should_continue(self, job_id: str, last: int) -> bool:
        with suppress(NotFound):
            return await to_thread.run_sync(self._has_more, job_id, last)
        return False

    async def _read_events(self, job_id: str, last: int) -> AsyncIterator[Event]:
        while events := await to_thread.run_sync(self._read_page, job_id, last):
            for event in events:
                yield event
            last = events[-1].seq

    def _read_page(self, job_id: str, last: int) -> list[Event]:
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).list_after(job_id, last, limit=PAGE_SIZE)

    def _has_more(self, job_id: str, after: int) -> bool:
        with transaction(self._sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            return job.state not in TERMINAL or job.event_seq > after
