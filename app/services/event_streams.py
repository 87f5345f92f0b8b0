"""Opens the event streams of this process: of one job, of several or of all jobs, and of sweeps."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy.exc import SQLAlchemyError

from app.services.event_feed import EventFeed
from app.services.event_position import EPOCH, EventPosition
from app.services.event_reader import EventReader
from app.services.event_stream import EventStream, OpenStream
from app.services.sweep_stream import SweepFeed, SweepStream
from app.services.topic_feed import TopicFeed
from app.services.topic_stream import TopicStream
from core.bus import ALL_JOBS, Bus
from core.db.repos.events import JobChange
from core.db.repos.sweep_lists import SweepView
from core.db.session import SessionFactory
from core.errors import NotFound, Overloaded
from core.events import Event

log = structlog.get_logger(__name__)
MAX_STREAMS = 5000
MAX_FEEDS = 5000
MAX_THREADS = 4
TOPIC = "topic=jobs"
ALL_SWEEPS = "topic=sweeps"


class EventStreams:
    """Manages the event streams of this process. A stream that waits for events costs no query and no connection.

    All streams of a job share one feed. One query every `poll_s` seconds compares all feeds with the database.

    Args:
        poll_s: default: 2. An event that the bus lost is delayed by at most this time.
    """

    def __init__(self, sessions: SessionFactory, bus: Bus, *, poll_s: float = 2.0) -> None:
        self._bus = bus
        self._poll_s = poll_s
        self._reader = EventReader(sessions)
        self._threads = CapacityLimiter(MAX_THREADS)
        self._streams: dict[OpenStream[Any], None] = {}  # in the order of opening
        self._feeds: dict[str, EventFeed] = {}
        self._topic: TopicFeed | None = None
        self._sweeps: SweepFeed | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}  # receive the events of each feed from the bus
        self._poll_task: asyncio.Task[None] | None = None

    async def open(self, job_id: str, after: int) -> EventStream | None:
        """Return a stream of a job's events with a number above `after`. The caller closes it.

        Return None if the job has ended and has no such events.

        Raises:
            NotFound: the job does not exist.
            Overloaded: too many streams are open.
        """
        position = EventPosition()
        if after:
            position.set_number(job_id, after, position.cutoff)
        return await self._open_stream([job_id], position, may_be_deleted=False)

    async def open_jobs(self, job_ids: Sequence[str], position: EventPosition | None) -> EventStream | None:
        """Return a stream of the events of several jobs after a position. The caller closes it.

        Return None if all jobs have ended and have no such events.

        Args:
            job_ids: the ids, without duplicates.
            position: the position of a client that continues a stream; jobs that were deleted meanwhile are omitted.
                Default: all events.

        Raises:
            NotFound: a job does not exist.
            Overloaded: too many streams are open, or they follow too many jobs.
        """
        is_continued = position is not None
        return await self._open_stream(job_ids, position or EventPosition(), may_be_deleted=is_continued)

    async def open_topic(self, position: EventPosition | None) -> TopicStream:
        """Return a stream of state changes and progress of all jobs after a position. The caller closes it.

        Args:
            position: the position of a client that continues a stream. Default: the present.

        Raises:
            Overloaded: too many streams are open.
        """
        self._require_place(TOPIC)
        feed = self._follow_topic()
        stream = TopicStream(TOPIC, EventPosition(), self.release, feed=feed, source=self)
        feed.listeners[stream] = None
        self._add_stream(stream)
        try:
            present = await run_sync(self._reader.get_present, limiter=self._threads)
        except BaseException:
            stream.close()
            raise
        feed.start(present.cutoff)
        stream.position = present if position is None else position
        return stream

    async def open_sweeps(self, sweep_ids: Sequence[str], position: EventPosition | None) -> SweepStream | None:
        """Return a stream of the changes of sweeps after a position. The caller closes it.

        Return None if all of them have ended and have no such changes.

        Args:
            sweep_ids: the ids, without duplicates; empty: all sweeps, also later ones.
            position: the position of a client that continues a stream; sweeps that were deleted meanwhile are omitted.
                Default: the stream starts with the present state of each of `sweep_ids`, or in the present.

        Raises:
            NotFound: a sweep does not exist.
            Overloaded: too many streams are open, or they follow too many sweeps.
        """
        group = ",".join(sorted(sweep_ids)) or ALL_SWEEPS
        self._require_place(group)
        feed = self._sweeps = self._sweeps or SweepFeed()
        if len(feed.list_followed().union(sweep_ids)) > MAX_FEEDS:
            raise Overloaded("The event streams follow too many sweeps; try again later.")
        reader = self._read_changed_sweeps
        stream = SweepStream(group, position, self.release, feed=feed, read_sweeps=reader, sweep_ids=sweep_ids)
        feed.listeners[stream] = None
        self._add_stream(stream)
        if position is not None and not sweep_ids:
            stream.start_after_position()
            return stream
        try:
            stored = await run_sync(self._reader.read_recent_sweeps, sweep_ids, {}, None, limiter=self._threads)
        except BaseException:
            stream.close()
            raise
        if not sweep_ids:
            stream.start_at(stored)
            return stream
        missing = [sweep_id for sweep_id in sweep_ids if sweep_id not in stored.revisions]
        if missing and position is None:
            stream.close()
            raise NotFound(f"Sweep {missing[0]!r} does not exist.", sweeps=missing)
        if stream.start_with(stored.views):
            return stream
        stream.close()
        return None

    async def read_page(self, job_id: str, after: int) -> list[Event]:
        """Return the first events of the job with a number above `after`."""
        return await run_sync(self._reader.read_page, job_id, after, limiter=self._threads)

    async def read_changes(self, after: tuple[datetime, str]) -> list[JobChange]:
        """Return the first jobs whose newest event is later than `after`, a time and a job id."""
        return await run_sync(self._reader.read_changes, after, limiter=self._threads)

    async def get_number_at(self, job_id: str, at: datetime) -> int:
        """Return the number of a job's last event that is not later than `at`, or 0 if there is none."""
        return await run_sync(self._reader.get_number_at, job_id, at, limiter=self._threads)

    async def _read_changed_sweeps(self, after: tuple[datetime, str]) -> list[SweepView]:
        return await run_sync(self._reader.read_changed_sweeps, after, limiter=self._threads)

    async def decode_position(self, text: str) -> EventPosition:
        """Return the position in the id of an event that a client received.

        Raises:
            InvalidSpec: the text is not such an id.
        """
        return EventPosition.decode(text, now=await run_sync(self._reader.get_time, limiter=self._threads))

    def release(self, stream: OpenStream[Any]) -> None:
        """Remove a closed stream. Stop following the jobs of which this was the last stream."""
        if stream not in self._streams:
            return
        del self._streams[stream]
        if isinstance(stream, TopicStream):
            del stream.feed.listeners[stream]
            if not stream.feed.listeners:
                self._topic = None
                self._tasks.pop(TOPIC).cancel()
        elif isinstance(stream, SweepStream):
            del stream.feed.listeners[stream]
            if not stream.feed.listeners:
                self._sweeps = None
        elif isinstance(stream, EventStream):
            for feed in stream.feeds:
                del feed.listeners[stream]
                if not feed.listeners:
                    del self._feeds[feed.job_id]
                    self._tasks.pop(feed.job_id).cancel()
        if not self._streams and self._poll_task is not None:
            self._poll_task.cancel()
            self._poll_task = None

    async def _open_stream(
        self, job_ids: Sequence[str], position: EventPosition, *, may_be_deleted: bool
    ) -> EventStream | None:
        stream = self._reserve(job_ids, position)
        try:
            # Events between the reads of the stream and the start of the subscription would wait for the next poll.
            subscribed = asyncio.gather(*(feed.subscription.wait_until_active() for feed in stream.feeds))
            states, _ = await asyncio.gather(
                run_sync(self._reader.read_states, job_ids, limiter=self._threads), subscribed
            )
        except BaseException:
            stream.close()
            raise
        missing = [job_id for job_id in job_ids if job_id not in states]
        if missing and not may_be_deleted:
            stream.close()
            raise NotFound(f"Job {missing[0]!r} does not exist.", jobs=missing)
        for job_id, state in states.items():
            if not state.has_ended or state.seq > (position.find_number(job_id) or 0):
                return stream
        stream.close()
        return None

    def _reserve(self, job_ids: Sequence[str], position: EventPosition) -> EventStream:
        """Return a new stream. There is no `await` between the check of the limits and the reservation."""
        group = ",".join(sorted(job_ids))
        self._require_place(group)
        num_new = sum(job_id not in self._feeds for job_id in job_ids)
        if len(self._feeds) + num_new > MAX_FEEDS:
            raise Overloaded("The event streams follow too many jobs; try again later.", jobs=len(self._feeds))
        feeds = [self._follow_job(job_id) for job_id in job_ids]
        stream = EventStream(group, position, self.release, feeds=feeds, read_events=self.read_page)
        for feed in feeds:
            feed.listeners[stream] = None
        self._add_stream(stream)
        return stream

    def _add_stream(self, stream: OpenStream[Any]) -> None:
        self._streams[stream] = None
        if self._poll_task is None:
            self._poll_task = asyncio.create_task(self._poll_forever(), name="event-poll")

    def _follow_topic(self) -> TopicFeed:
        if self._topic is None:
            self._topic = TopicFeed(self.read_page, self.get_number_at)
            task = self._topic.follow(self._bus.subscribe(ALL_JOBS))
            self._tasks[TOPIC] = asyncio.create_task(task, name="event-topic")
        return self._topic

    def _follow_job(self, job_id: str) -> EventFeed:
        feed = self._feeds.get(job_id)
        if feed is None:
            feed = self._feeds[job_id] = EventFeed(job_id, self.read_page, self._bus.subscribe(job_id))
            self._tasks[job_id] = asyncio.create_task(feed.follow(), name="event-feed")
        return feed

    def _require_place(self, group: str) -> None:
        """If all places are taken, close the newest stream of the group with the most streams.

        So no group can take all places. The evicted client reconnects with `Last-Event-ID` and continues there.

        Raises:
            Overloaded: no other group has more streams than `group` would have.
        """
        if len(self._streams) < MAX_STREAMS:
            return
        counts = Counter(stream.group for stream in self._streams)
        largest, num_streams = counts.most_common(1)[0]
        if num_streams <= counts[group] + 1:
            raise Overloaded("Too many event streams are open; try again later.", open=len(self._streams))
        next(stream for stream in reversed(self._streams) if stream.group == largest).evict()

    async def _poll_forever(self) -> None:
        while True:
            await asyncio.sleep(self._poll_s)
            try:
                await self._poll_feeds()
                if self._topic is not None:
                    recent = await run_sync(self._reader.read_recent, self._topic.settled_at, limiter=self._threads)
                    await self._topic.update(recent)
                if self._sweeps is not None:
                    await self._poll_sweeps(self._sweeps)
            except SQLAlchemyError as error:
                log.warning("events.poll_failed", error=str(error))
            except Exception:  # an exception must not stop later polls
                log.exception("events.poll_failed")

    async def _poll_feeds(self) -> None:
        feeds = list(self._feeds.values())
        if not feeds:
            return
        states = await run_sync(self._reader.read_states, [feed.job_id for feed in feeds], limiter=self._threads)
        for feed in feeds:
            state = states.get(feed.job_id)
            await feed.update(state and state.seq, has_ended=state is None or state.has_ended)

    async def _poll_sweeps(self, feed: SweepFeed) -> None:
        followed, previous = feed.list_followed(), feed.settled_at
        arguments = followed, feed.revisions, None if previous == EPOCH else previous
        feed.update(await run_sync(self._reader.read_recent_sweeps, *arguments, limiter=self._threads), followed)
