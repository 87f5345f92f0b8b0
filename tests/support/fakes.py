"""Small fakes for unit tests: a clock, a queue and an event publisher."""

from collections.abc import Sequence

from core.events import Event
from core.queue import QueueUnavailable, Topic


class Clock:
    """A clock that only a test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryQueue:
    """A queue that stores its messages and can be unavailable."""

    def __init__(self) -> None:
        self.sent: list[tuple[Topic, str]] = []
        self.is_unavailable = False

    def put(self, topic: Topic, subject_id: str) -> None:
        if self.is_unavailable:
            raise QueueUnavailable("unavailable")
        self.sent.append((topic, subject_id))

    def depth(self, topic: Topic) -> int:
        if self.is_unavailable:
            raise QueueUnavailable("unavailable")
        return sum(1 for sent, _ in self.sent if sent == topic)


class RecordedEvents(list[Event]):
    """Records the events of a session factory: `make_session_factory(engine, recorded.publish)`."""

    def publish(self, events: Sequence[Event]) -> None:
        self.extend(events)
