"""Ten-line stand-ins for what the world does to us; unit tests only."""

from collections.abc import Sequence

from core.events import Event
from core.queue import QueueUnavailable, Topic


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class MemoryQueue:
    """A queue that remembers what was put, and can be away."""

    def __init__(self) -> None:
        self.sent: list[tuple[Topic, str]] = []
        self.is_unavailable = False

    def put(self, topic: Topic, subject_id: str) -> None:
        if self.is_unavailable:
            raise QueueUnavailable("away")
        self.sent.append((topic, subject_id))

    def depth(self, topic: Topic) -> int:
        if self.is_unavailable:
            raise QueueUnavailable("away")
        return sum(1 for sent, _ in self.sent if sent == topic)


class RecordedEvents(list[Event]):
    """Where a session factory publishes: `make_session_factory(engine, told.publish)`."""

    def publish(self, events: Sequence[Event]) -> None:
        self.extend(events)
