"""The present: events over Redis pub/sub, a hint beside the rows. It never fails anybody.

Events are published after the commit that stored them. Whoever listens may miss some (Redis away, a slow listener):
numbers without a gap tell, and the rows have them all.
"""

import asyncio
import json
import threading
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, Protocol, Self
from urllib.parse import parse_qs, urlsplit

import redis
import redis.asyncio
import structlog

from core.errors import ConfigurationError
from core.events import Event, EventType

log = structlog.get_logger()
_PREFIX = "candela:events:"
_TIMEOUT_S = 1.0
_REST_S = 5.0  # how long publishing is left alone after a failure, so that a stalled Redis slows nobody
_MAX_WAITING = 1000


class Bus(Protocol):
    def publish(self, events: Sequence[Event]) -> None:
        """Tell those who listen now; errors are logged, never raised."""

    def listen(self, job_id: str) -> "Listener":
        """Events of one job from now on; to be called in a running event loop, and closed."""


class Listener(Protocol):
    """Events of one job. Waiting for the next one may be cancelled (`asyncio.wait_for`) and tried again."""

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class RedisListener(AsyncIterator[Event]):
    """What one reader has not read yet."""

    def __init__(self, bus: "RedisBus", job_id: str) -> None:
        self._bus, self.job_id = bus, job_id
        self._waiting: asyncio.Queue[Event] = asyncio.Queue(_MAX_WAITING)

    def _enqueue(self, event: Event) -> None:
        """Keep an event for the reader; one who is too slow misses it and sees the gap."""
        with suppress(asyncio.QueueFull):
            self._waiting.put_nowait(event)

    async def __anext__(self) -> Event:
        return await self._waiting.get()

    def close(self) -> None:
        self._bus.unsubscribe(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class RedisBus:
    """One connection a process for listening, whatever the number of listeners; one for publishing."""

    def __init__(self, redis_url: str) -> None:
        if not redis_url:
            raise ConfigurationError("CANDELA_REDIS_URL: events need the URL of a Redis or Valkey server")
        self._url = redis_py_url(redis_url)
        self._publisher = redis.Redis.from_url(
            self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=None
        )
        self._rest_until = 0.0
        self._mutex = threading.Lock()
        self._listeners: dict[str, set[RedisListener]] = defaultdict(set)
        self._reader: asyncio.Task[None] | None = None
        self._subscribed: asyncio.Event | None = None

    def publish(self, events: Sequence[Event]) -> None:
        if not events or time.monotonic() < self._rest_until:
            return
        try:
            with self._mutex, self._publisher.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.publish(_PREFIX + event.job_id, _dump(event))
                pipeline.execute()
        except (redis.RedisError, OSError) as error:
            self._rest_until = time.monotonic() + _REST_S
            log.warning("bus.publish_failed", error=str(error))

    def listen(self, job_id: str) -> RedisListener:
        listener = RedisListener(self, job_id)
        self._listeners[job_id].add(listener)
        if self._reader is None or self._reader.done():
            self._subscribed = asyncio.Event()
            self._reader = asyncio.create_task(self._read_for_ever(self._subscribed), name="bus")
        return listener

    async def ready(self, patience_s: float = _TIMEOUT_S) -> bool:
        """Wait until what is published will be heard; False if Redis does not answer in time."""
        if self._subscribed is None:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), patience_s)
        return self._subscribed.is_set()

    def unsubscribe(self, listener: RedisListener) -> None:
        """The listener is done."""
        self._listeners[listener.job_id].discard(listener)
        if not self._listeners[listener.job_id]:
            del self._listeners[listener.job_id]

    async def aclose(self) -> None:
        """Stop listening, from the event loop that listens, and publishing."""
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Stop publishing."""
        self._publisher.close()

    async def _read_for_ever(self, subscribed: asyncio.Event) -> None:
        pause_s = 0.1
        while True:
            try:
                await self._read(subscribed)
            except (redis.RedisError, OSError) as error:
                log.warning("bus.listen_failed", error=str(error))
            subscribed.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)

    async def _read(self, subscribed: asyncio.Event) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, socket_connect_timeout=_TIMEOUT_S, health_check_interval=10, retry=None
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.psubscribe(_PREFIX + "*")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    subscribed.set()
                elif message["type"] == "pmessage":
                    self._hand_out(message["channel"].decode().removeprefix(_PREFIX), message["data"])

    def _hand_out(self, job_id: str, body: bytes) -> None:
        listeners = self._listeners.get(job_id)
        if listeners:
            event = _load(job_id, body)
            for listener in listeners:
                listener._enqueue(event)


def redis_py_url(url: str) -> str:
    """Celery's spelling of a URL in redis-py's: a socket is `redis+socket://` there and `unix://` here."""
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.path}?db={database}"


def _dump(event: Event) -> str:
    return json.dumps([event.seq, event.type, event.at.isoformat(), event.payload])


def _load(job_id: str, body: bytes) -> Event:
    fields: list[Any] = json.loads(body)
    seq, type_, at, payload = fields
    return Event(job_id, seq, EventType(type_), datetime.fromisoformat(at), payload)
