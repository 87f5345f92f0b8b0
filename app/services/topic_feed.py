"""Follows the events of all jobs for the streams of `topic=jobs` in this process."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Protocol

from sqlalchemy.exc import SQLAlchemyError

from app.services.event_feed import ReadEvents
from app.services.event_position import EPOCH
from app.services.event_reader import RecentChanges
from core.bus import Subscription
from core.events import Event

MAX_TOPIC_EVENTS = 5000
GetNumberAt = Callable[[str, datetime], Awaitable[int]]


class TopicListener(Protocol):
    """A stream that is notified when there are new events of any job."""

    def wake(self) -> None: ...


class TopicFeed:
    """Receives the events of all jobs from the bus once, and keeps the recent ones in memory.

    The events of one job are in order. A stream compares their numbers with its position, and reads events that are
    missing from the database, unless they were deleted there.

    Attributes:
        listeners: the streams that use the feed.
        num_events: the number of events that the feed has received so far.
        settled_at: a time up to which the streams have received or read all events of all jobs; `EPOCH` before `start`.

    Args:
        read_events: function that reads the events of a job with a number above the given one from the database.
        get_number_at: function that returns the number of a job's last event that is not later than a time.
    """

    def __init__(self, read_events: ReadEvents, get_number_at: GetNumberAt) -> None:
        self.listeners: dict[TopicListener, None] = {}
        self.num_events = 0
        self.settled_at = EPOCH
        self._read_events = read_events
        self._get_number_at = get_number_at
        self._recent: deque[Event] = deque(maxlen=MAX_TOPIC_EVENTS)
        self._numbers: dict[str, int] = {}  # of the newest received event of each job with a recent event
        self._idle: set[str] = set()  # jobs in `_numbers` that had no recent event at the last poll

    def start(self, settled_at: datetime) -> None:
        """Set the time up to which all streams read events from the database, unless a poll has set a later one."""
        if self.settled_at == EPOCH:
            self.settled_at = settled_at

    def list_recent(self, index: int) -> Sequence[Event] | None:
        """Return the received events from the `index`th on. Return None if they are not in memory anymore."""
        num_new = self.num_events - index
        if num_new > len(self._recent):
            return None
        return [self._recent[offset] for offset in range(-num_new, 0)]

    async def follow(self, subscription: Subscription) -> None:
        """Receive the events of the bus until the task is cancelled."""
        async with subscription:
            async for event in subscription:
                number = self._numbers.get(event.job_id)
                if number is not None and event.seq > number + 1:
                    with suppress(SQLAlchemyError):  # streams that need the missing events read them when they can
                        await self._fill(event.job_id, number)
                self._add([event])

    async def update(self, recent: RecentChanges) -> None:
        """Handle the jobs with a recent event in the database. Read the events that the feed has not received."""
        for change in recent.changes:
            number = self._numbers.get(change.job_id)
            if number is None:
                number = await self._get_number_at(change.job_id, self.settled_at)
            if change.seq > number:
                await self._fill(change.job_id, number)
        idle = self._numbers.keys() - {change.job_id for change in recent.changes}
        for job_id in idle & self._idle:
            del self._numbers[job_id]
        self._idle = idle
        self.settled_at = recent.settled_at
        self._notify()

    def _notify(self) -> None:
        for listener in tuple(self.listeners):
            listener.wake()

    async def _fill(self, job_id: str, number: int) -> None:
        while events := await self._read_events(job_id, number):
            self._add(events)
            number = events[-1].seq

    def _add(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.seq > self._numbers.get(event.job_id, 0):
                self._numbers[event.job_id] = event.seq
                self._recent.append(event)
                self.num_events += 1
        self._notify()
