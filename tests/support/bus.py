"""An event bus in memory that can lose events, as Redis can."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

from core.bus import ALL_JOBS
from core.events import Event


class MemorySubscription(AsyncIterator[Event]):
    def __init__(self, bus: "MemoryBus", job_id: str) -> None:
        self.job_id, self._bus, self._loop = job_id, bus, asyncio.get_running_loop()
        self._queue: asyncio.Queue[Event] = asyncio.Queue()
        self.is_waiting = False

    def put(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._queue.put_nowait, event)

    async def __anext__(self) -> Event:
        self.is_waiting = True
        try:
            return await self._queue.get()
        finally:
            self.is_waiting = False

    async def wait_until_active(self) -> bool:
        return True

    async def __aenter__(self) -> Self:
        self._bus.subscriptions.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.subscriptions.remove(self)


class MemoryBus:
    def __init__(self) -> None:
        self.subscriptions: list[MemorySubscription] = []
        self.is_unavailable = False

    def publish(self, events: Sequence[Event]) -> None:
        for event in [] if self.is_unavailable else events:
            for listener in self.subscriptions:
                if listener.job_id in (event.job_id, ALL_JOBS):
                    listener.put(event)

    def subscribe(self, job_id: str) -> MemorySubscription:
        return MemorySubscription(self, job_id)
