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

    async def wait_until_active(self) -> bool:
        """Wait until future events are received. Return False if Redis does not confirm this in time."""

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *_: object) -> None: ...


class RedisSubscription(AsyncIterator[Event]):
    """Buffers the received events of one job until the subscriber reads them."""

    def __init__(self, bus: "RedisBus", job_id: str) -> None:
        self._bus, self.job_id = bus, job_id
        self.active = asyncio.Event()
        self._queue: asyncio.Queue[Event] = asyncio.Queue(_MAX_BUFFERED)

    def _enqueue(self, event: Event) -> None:
        """Buffer an event, or drop it if the buffer is full. The reader detects the gap in the event numbers."""
        with suppress(asyncio.QueueFull):
            self._queue.put_nowait(event)

    async def __anext__(self) -> Event:
        return await self._queue.get()

    async def wait_until_active(self, timeout_s: float = _TIMEOUT_S) -> bool:
        if self._bus.has_failed:
            return False  # events come from the database until Redis is available again
        with suppress(TimeoutError):
            await asyncio.wait_for(self.active.wait(), timeout_s)
        return self.active.is_set()

    def close(self) -> None:
        self._bus.unsubscribe(self)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()


class RedisBus:
    """An event bus with two Redis connections per process: one for all subscriptions and one for publishing.

    Each job has its own channel, so that a process receives only the events of the jobs that it follows.

    Attributes:
        has_failed: whether the connection of the subscriptions was lost and is not open again.
    """

    def __init__(self, redis_url: str) -> None:
        if not redis_url:
            raise ConfigurationError("CANDELA_REDIS_URL is not set; set it to the URL of a Redis or Valkey server")
        self._url = to_redis_py_url(redis_url)
        self._publisher = redis.Redis.from_url(
            self._url, socket_timeout=_TIMEOUT_S, socket_connect_timeout=_TIMEOUT_S, retry=None
        )
        self._retry_at = 0.0
        self._mutex = threading.Lock()
        self.has_failed = False
        self._subscriptions: dict[str, set[RedisSubscription]] = defaultdict(set)
        self._confirmed: set[str] = set()
        self._reader_task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()

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
        if job_id in self._confirmed:
            subscription.active.set()
        self._changed.set()
        if self._reader_task is None or self._reader_task.done():
            self._reader_task = asyncio.create_task(self._read_forever(), name="bus")
        return subscription

    def unsubscribe(self, subscription: RedisSubscription) -> None:
        """Remove a subscription, which then receives no more events."""
        self._subscriptions[subscription.job_id].discard(subscription)
        if not self._subscriptions[subscription.job_id]:
            del self._subscriptions[subscription.job_id]
        self._changed.set()

    async def aclose(self) -> None:
        """Stop receiving and publishing events. Must be called on the event loop of the subscriptions."""
        if self._reader_task is not None:
            self._reader_task.cancel()
            await asyncio.gather(self._reader_task, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Close the Redis connection that publishes events."""
        self._publisher.close()

    async def _read_forever(self) -> None:
        pause_s = 0.1
        while True:
            try:
                await self._read_messages()
            except (redis.RedisError, OSError) as error:
                log.warning("bus.receive_failed", error=str(error))
            self.has_failed = True
            self._confirmed.clear()
            for subscription in self._list_subscriptions():
                subscription.active.clear()
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, 5.0)

    async def _read_messages(self) -> None:
        client = redis.asyncio.Redis.from_url(
            self._url, socket_connect_timeout=_TIMEOUT_S, health_check_interval=10, retry=None
        )
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe(_PREFIX)  # of no job: the reader waits for messages also while no job is followed
            self.has_failed = False
            is_closing = asyncio.Event()
            updates = asyncio.create_task(self._update_channels(pubsub, is_closing), name="bus-channels")
            try:
                async for message in pubsub.listen():
                    self._handle_message(message["type"], message["channel"].decode(), message["data"])
            finally:
                is_closing.set()  # redis-py may suppress a cancellation while it sends a command
                self._changed.set()
                updates.cancel()
                await asyncio.gather(updates, return_exceptions=True)

    async def _update_channels(self, pubsub: redis.asyncio.client.PubSub, is_closing: asyncio.Event) -> None:
        """Subscribe to the channels of the followed jobs, and unsubscribe from the others."""
        requested: set[str] = set()
        while not is_closing.is_set():
            self._changed.clear()
            followed = set(self._subscriptions)
            added, removed = followed - requested, requested - followed
            self._confirmed -= removed  # now: a new subscription must wait until the channel is subscribed again
            if ALL_JOBS in added:
                await pubsub.psubscribe(_PREFIX + ALL_JOBS)
            if ALL_JOBS in removed:
                await pubsub.punsubscribe(_PREFIX + ALL_JOBS)
            if channels := [_PREFIX + job_id for job_id in added - {ALL_JOBS}]:
                await pubsub.subscribe(*channels)
            if channels := [_PREFIX + job_id for job_id in removed - {ALL_JOBS}]:
                await pubsub.unsubscribe(*channels)
            requested = followed
            await self._changed.wait()

    def _handle_message(self, kind: str, channel: str, body: Any) -> None:  # noqa: ANN401 - bytes or a number
        job_id = channel.removeprefix(_PREFIX)
        if kind in ("message", "pmessage"):
            listeners = self._subscriptions.get(job_id if kind == "message" else ALL_JOBS)
            if listeners:
                event = _decode_event(job_id, body)
                for listener in listeners:
                    listener._enqueue(event)
        elif kind in ("subscribe", "psubscribe"):
            self._confirmed.add(job_id)
            for subscription in self._subscriptions.get(job_id, ()):
                subscription.active.set()
        else:
            self._confirmed.discard(job_id)

    def _list_subscriptions(self) -> list[RedisSubscription]:
        return [subscription for group in self._subscriptions.values() for subscription in group]


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
