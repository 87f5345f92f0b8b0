"""Publishes job events to subscribers over Redis pub/sub, after the database transaction that stored them.

Delivery is best effort: events are lost while Redis is unavailable, or while the buffer of a slow subscriber is full.
Subscribers detect gaps in the event numbers and read the missing events from the database.
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
ALL_JOBS = "*"
"""Subscribe to this instead of a job id to receive the events of all jobs."""
_PREFIX = "candela:events:"
_TIMEOUT_S = 1.0
_RETRY_DELAY_S = 5.0  # after a failed publish, events are dropped for 5 s, so that requests do not wait for Redis
_MAX_BUFFERED = 1000


class Bus(Protocol):
    def publish(self, events: Sequence[Event]) -> None:
        """Publish events to the current subscribers. Redis errors are logged and not raised."""

    def subscribe(self, job_id: str) -> "Subscription":
        """Subscribe to future events of a job, or of `ALL_JOBS`. The caller closes the subscription.

        Needs a running event loop.
        """


class Subscription(Protocol):
    """An asynchronous iterator over the events of one job.

    If a wait for the next event is cancelled, for example by `asyncio.wait_for`, the iteration can continue.
    """

    def __aiter__(self) -> AsyncIterator[Event]: ...

    async def __anext__(self) -> Event: ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class RedisSubscription(AsyncIterator[Event]):
    """Buffers the received events of one job until the subscriber reads them."""

    def __init__(self, bus: "RedisBus", job_id: str) -> None:
        self._bus, self.job_id = bus, job_id
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_MAX_BUFFERED)

    def _enqueue(self, event: Event) -> None:
        """Buffer an event, or drop it if the buffer is full. The reader detects the gap in the event numbers."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(event)

    async def __anext__(self) -> Event:
        return await self._queue.get()

    def close(self) -> None:
        self._bus.unsubscribe(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class RedisBus:
    """An event bus with two Redis connections per process: one for all subscriptions and one for publishing."""

    def __init__(self, redis_url: str) -> None:
        if not redis_url:
            raise ConfigurationError("CANDELA_REDIS_URL is not set; set it to the URL of a Redis or Valkey server")
        self._url = to_redis_py_url(redis_url)
        self._publisher = redis.Redis.from_url(
            self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=None
        )
        self._retry_at = 0.0
        self._mutex = threading.Lock()
        self._subscriptions: dict[str, set[RedisSubscription]] = defaultdict(set)
        self._reader_task: asyncio.Task[None] | None = None
        self._subscribed: asyncio.Event | None = None

    def publish(self, events: Sequence[Event]) -> None:
        if not events or time.monotonic() < self._retry_at:
            return
        try:
            with self._mutex, self._publisher.pipeline(transaction=False) as pipeline:
                for event in events:
                    pipeline.publish(_PREFIX + event.job_id, _encode_event(event))
                pipeline.execute()
        except (redis.RedisError, OSError) as error:
            self._retry_at = time.monotonic() + _RETRY_DELAY_S
            log.warning("bus.publish_failed", error=str(error))

    def subscribe(self, job_id: str) -> RedisSubscription:
        subscription = RedisSubscription(self, job_id)
        self._subscriptions[job_id].add(subscription)
        if self._reader_task is None or self._reader_task.done():
            self._subscribed = asyncio.Event()
            self._reader_task = asyncio.create_task(self._read_forever(self._subscribed), name="bus")
        return subscription

    async def wait_for_subscription(self, timeout_s: float = _TIMEOUT_S) -> bool:
        """Wait until Redis confirms that this bus receives events.

        Return False if `timeout_s` passes, or if `subscribe` has not been called.
        """
        if self._subscribed is None:
            return False
        with suppress(TimeoutError):
            await asyncio.wait_for(self._subscribed.wait(), timeout_s)
        return self._subscribed.is_set()

    def unsubscribe(self, subscription: RedisSubscription) -> None:
        """Remove a subscription, which then receives no more events."""
        self._subscriptions[subscription.job_id].discard(subscription)
        if not self._subscriptions[subscription.job_id]:
            del self._subscriptions[subscription.job_id]

    async def aclose(self) -> None:
        """Stop receiving and publishing events. Must be called on the event loop of the subscriptions."""
        if self._reader_task is not None:
            self._reader_task.cancel()
            await asyncio.gather(self._reader_task, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Close the Redis connection that publishes events."""
        self._publisher.close()

    async def _read_forever(self, subscribed: asyncio.Event) -> None:
        pause_s = 0.1
        while True:
            try:
                await self._read_messages(subscribed)
            except (redis.RedisError, OSError) as error:
                log.warning("bus.receive_failed", error=str(error))
            subscribed.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)

    async def _read_messages(self, subscribed: asyncio.Event) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, socket_connect_timeout=_TIMEOUT_S, health_check_interval=10, retry=None
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.psubscribe(_PREFIX + "*")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    subscribed.set()
                elif message["type"] == "pmessage":
                    self._dispatch_message(message["channel"].decode().removeprefix(_PREFIX), message["data"])

    def _dispatch_message(self, job_id: str, body: bytes) -> None:
        listeners = [*self._subscriptions.get(job_id, ()), *self._subscriptions.get(ALL_JOBS, ())]
        if listeners:
            event = _decode_event(job_id, body)
            for listener in listeners:
                listener._enqueue(event)


def to_redis_py_url(url: str) -> str:
    """Convert a Celery broker URL to a redis-py URL: `redis+socket://` becomes `unix://`."""
    if not url.startswith("redis+socket://"):
        return url
    parts = urlsplit(url)
    database = parse_qs(parts.query).get("virtual_host", ["0"])[0]
    return f"unix://{parts.path}?db={database}"


def _encode_event(event: Event) -> str:
    return json.dumps([event.seq, event.type, event.at.isoformat(), event.payload])


def _decode_event(job_id: str, body: bytes) -> Event:
    fields: list[Any] = json.loads(body)
    seq, type_, at, payload = fields
    return Event(job_id, seq, EventType(type_), datetime.fromisoformat(at), payload)
