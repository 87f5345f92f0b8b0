"""Streams the events of a job in order: stored events from the database, then new events from the job's feed."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from app.services.event_feed import EventFeed
from core.bus import Bus
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.errors import Overloaded
from core.events import Event, EventType
from core.jobs import TERMINAL

log = structlog.get_logger(__name__)
MAX_STREAMS = 500
MAX_THREADS = 4
PAGE_SIZE = 500


class EventStreams:
    """Manages the event streams of this process. A stream that waits for events costs no query and no connection.

    All streams of a job share one feed. One query every `poll_s` seconds compares all feeds with the database.

    Args:
        poll_s: default: 2. An event that the bus lost is delayed by at most this time.
    """

    def __init__(self, sessions: SessionFactory, bus: Bus, *, poll_s: float = 2.0) -> None:
        self._sessions = sessions
        self._bus = bus
        self._poll_s = poll_s
        self._threads = CapacityLimiter(MAX_THREADS)
        self._streams: dict[EventStream, None] = {}  # in the order of opening
        self._feeds: dict[str, EventFeed] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}  # receive the events of each feed from the bus
        self._poll_task: asyncio.Task[None] | None = None

    async def open(self, job_id: str, after: int) -> "EventStream | None":
        """Return a stream of the events with a number above `after`. The caller closes it.

        Return None if the job has ended and has no such events.

        Raises:
            NotFound: the job does not exist.
            Overloaded: too many streams are open.
        """
        stream = self._reserve(job_id, after)
        try:
            if await run_sync(self._has_more, job_id, after, limiter=self._threads):
                return stream
        except BaseException:
            stream.close()
            raise
        stream.close()
        return None

    async def read_page(self, job_id: str, after: int) -> list[Event]:
        """Return the first events of the job with a number above `after`."""
        return await run_sync(self._read_page, job_id, after, limiter=self._threads)

    def release(self, stream: "EventStream") -> None:
        """Remove a closed stream. Stop following the job if this was its last stream."""
        if stream not in self._streams:
            return
        del self._streams[stream]
        feed = stream.feed
        feed.num_streams -= 1
        if feed.num_streams:
            return
        del self._feeds[feed.job_id]
        self._tasks.pop(feed.job_id).cancel()
        if not self._feeds and self._poll_task is not None:
            self._poll_task.cancel()
            self._poll_task = None

    def _reserve(self, job_id: str, after: int) -> "EventStream":
        """Return a new stream. There is no `await` between the check of the limit and the reservation."""
        if len(self._streams) >= MAX_STREAMS:
            self._evict_stream(job_id)
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = EventFeed(job_id, self.read_page)
            self._tasks[job_id] = asyncio.create_task(feed.follow(self._bus.subscribe(job_id)), name="event-feed")
        if self._poll_task is None:
            self._poll_task = asyncio.create_task(self._poll_forever(), name="event-poll")
        feed.num_streams += 1
        stream = EventStream(self, feed, after)
        self._streams[stream] = None
        return stream

    def _evict_stream(self, job_id: str) -> None:
        """Close the newest stream of the job with the most streams, so that one job cannot take all streams.

        The evicted client reconnects with `Last-Event-ID` and misses no event.

        Raises:
            Overloaded: no other job has more streams than `job_id` would have.
        """
        own = self._feeds.get(job_id)
        largest = max(self._feeds.values(), key=lambda feed: feed.num_streams)
        if largest.num_streams <= (own.num_streams if own else 0) + 1:
            raise Overloaded("Too many event streams are open; try again later.", open=len(self._streams))
        next(stream for stream in reversed(self._streams) if stream.feed is largest).evict()

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            feeds = list(self._feeds.values())
            try:
                states = await run_sync(self._read_states, [feed.job_id for feed in feeds], limiter=self._threads)
                for feed in feeds:
                    newest, has_ended = states.get(feed.job_id, (None, True))
                    await feed.update(newest, has_ended=has_ended)
            except SQLAlchemyError as error:
                log.warning("events.poll_failed", error=str(error))
            except Exception:  # an exception must not stop later polls
                log.exception("events.poll_failed")

    def _read_states(self, job_ids: Sequence[str]) -> dict[str, tuple[int, bool]]:
        with transaction(self._sessions, read_only=True) as session:
            rows = EventRepo(session).list_event_numbers(job_ids)
        return {job_id: (number, state in TERMINAL) for job_id, state, number in rows}

    def _read_page(self, job_id: str, after: int) -> list[Event]:
        with transaction(self._sessions, read_only=True) as session:
            return EventRepo(session).list_after(job_id, after, limit=PAGE_SIZE)

    def _has_more(self, job_id: str, after: int) -> bool:
        with transaction(self._sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id, with_spec=False)
            return job.state not in TERMINAL or job.event_seq > after


class EventStream:
    """Yields each event of a job exactly once, until the job has ended or is deleted, or the stream is evicted."""

    def __init__(self, streams: EventStreams, feed: EventFeed, after: int) -> None:
        self.feed = feed
        self._streams = streams
        self._last = after
        self._is_evicted = False

    async def __aiter__(self) -> AsyncIterator[Event]:
        while not self._is_evicted:
            changed = self.feed.changed  # before the events are read, so that no change is missed
            async for event in self._read_events():
                self._last = event.seq
                yield event
                if event.type is EventType.END:
                    return
            if self.feed.is_deleted or (self.feed.last_number is not None and self.feed.last_number <= self._last):
                return
            await changed.wait()

    def evict(self) -> None:
        """Close the stream and end its iteration."""
        self._is_evicted = True
        self.feed.wake()
        self.close()

    def close(self) -> None:
        """Release the place of the stream."""
        self._streams.release(self)

    async def _read_events(self) -> AsyncIterator[Event]:
        while (events := self.feed.list_recent(self._last)) is None:
            page = await self._streams.read_page(self.feed.job_id, self._last)
            for event in page:
                yield event
            if not page:
                return
        for event in events:
            yield event
