"""A bus in memory that can lose what is told, as Redis may."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Self

from core.events import Event


class MemoryListener(AsyncIterator[Event]):
    def __init__(self, bus: "MemoryBus", job_id: str) -> None:
        self.job_id, self._bus, self._loop = job_id, bus, asyncio.get_running_loop()
        self._heard: asyncio.Queue[Event] = asyncio.Queue()
        self.is_waiting = False

    def hear(self, event: Event) -> None:
        self._loop.call_soon_threadsafe(self._heard.put_nowait, event)

    async def __anext__(self) -> Event:
        self.is_waiting = True
        try:
            return await self._heard.get()
        finally:
            self.is_waiting = False

    async def __aenter__(self) -> Self:
        self._bus.listeners.append(self)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._bus.listeners.remove(self)


class MemoryBus:
    def __init__(self) -> None:
        self.listeners: list[MemoryListener] = []
        self.is_away = False

    def publish(self, events: Sequence[Event]) -> None:
        for event in [] if self.is_away else events:
            for listener in self.listeners:
                if listener.job_id == event.job_id:
                    listener.hear(event)

    def listen(self, job_id: str) -> MemoryListener:
        return MemoryListener(self, job_id)
