"""The bus delivers events to subscriptions, and errors of Redis are not raised."""

import asyncio
import time
from unittest.mock import ANY

import pytest

from core.bus import ALL_JOBS, RedisBus, to_redis_py_url
from core.db.clock import utc_now
from core.events import Event, EventType
from tests.support.servers import RedisServer


def build_event(seq: int, job_id: str = "job-1") -> Event:
    return Event(job_id, seq, EventType.LOG, utc_now(), {"message": f"{seq}"})


@pytest.mark.services
async def test_each_subscription_receives_the_events_of_its_job(redis_url: str) -> None:
    subscriber, publisher = RedisBus(redis_url), RedisBus(redis_url)
    first, second, other = subscriber.subscribe("job-1"), subscriber.subscribe("job-1"), subscriber.subscribe("job-2")
    assert all([await subscription.wait_until_active(20) for subscription in (first, second, other)])
    events = [build_event(1), build_event(2), build_event(1, "job-2")]
    await asyncio.to_thread(publisher.publish, events)
    assert [await anext(first), await anext(first)] == events[:2]
    assert [await anext(second), await anext(second)] == events[:2]
    assert await anext(other) == events[2]
    first.close()
    publisher.publish([build_event(3)])
    assert (await anext(second)).seq == 3
    await subscriber.aclose()
    publisher.close()


@pytest.mark.services
async def test_a_subscription_of_all_jobs_receives_every_event(redis_url: str) -> None:
    bus = RedisBus(redis_url)
    async with bus.subscribe(ALL_JOBS) as every, bus.subscribe("job-1") as one:
        assert await every.wait_until_active(20)
        assert await one.wait_until_active(20)
        events = [build_event(1), build_event(1, "job-2")]
        await asyncio.to_thread(bus.publish, events)
        assert [await anext(every), await anext(every)] == events
        assert await anext(one) == events[0]
    await bus.aclose()


@pytest.mark.services
async def test_a_process_receives_only_the_events_of_jobs_that_it_follows(redis_url: str, valkey: RedisServer) -> None:
    bus = RedisBus(redis_url)
    one, other = bus.subscribe("job-1"), bus.subscribe("job-2")
    assert await one.wait_until_active(20)
    assert await other.wait_until_active(20)
    again = bus.subscribe("job-1")
    assert again.active.is_set()
    with valkey.client as client:

        async def wait_for_channels(*expected: bytes) -> None:
            async with asyncio.timeout(20):
                while set(client.pubsub_channels("candela:events:?*")) != set(expected) or client.pubsub_numpat():
                    await asyncio.sleep(0.01)

        await wait_for_channels(b"candela:events:job-1", b"candela:events:job-2")
        for subscription in (one, other, again):
            subscription.close()
        await wait_for_channels()
    late = bus.subscribe("job-2")
    assert await late.wait_until_active(20)
    bus.publish([build_event(1, "job-1"), build_event(1, "job-2")])
    assert await anext(late) == build_event(1, "job-2")._replace(at=ANY)
    await bus.aclose()


@pytest.mark.services
async def test_a_cancelled_wait_loses_no_event(redis_url: str) -> None:
    bus = RedisBus(redis_url)
    async with bus.subscribe("job-1") as subscription:
        assert await subscription.wait_until_active(20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(subscription), 0.05)
        bus.publish([build_event(1)])
        assert (await anext(subscription)).seq == 1
    await bus.aclose()


@pytest.mark.services
async def test_a_restart_of_redis_raises_no_error(own_valkey: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.bus._RETRY_DELAY_S", 0.0)
    bus = RedisBus(own_valkey.url)
    subscription = bus.subscribe("job-1")
    assert await subscription.wait_until_active(20)
    own_valkey.kill()
    bus.publish([build_event(1)])  # lost without an error
    while subscription.active.is_set():
        await asyncio.sleep(0.01)
    assert not await subscription.wait_until_active(20)  # it does not wait for a server that is unavailable
    own_valkey.start()
    await asyncio.wait_for(subscription.active.wait(), 20)
    bus.publish([build_event(2)])
    assert (await anext(subscription)).seq == 2
    await bus.aclose()


def test_publishing_pauses_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = RedisBus("redis+socket:///nowhere/at/all.sock?virtual_host=0")
    bus.publish([build_event(1)])
    monkeypatch.setattr(bus, "_publisher", None)  # using it would raise
    bus.publish([build_event(2)])
    assert bus._retry_at > time.monotonic()


@pytest.mark.parametrize(
    ("celery", "redis_py"),
    [
        ("redis+socket:///a/b.sock?virtual_host=3", "unix:///a/b.sock?db=3"),
        ("redis+socket:///a/b.sock", "unix:///a/b.sock?db=0"),
        ("redis://:secret@host:6379/1", "redis://:secret@host:6379/1"),
    ],
)
def test_a_socket_url_is_converted(celery: str, redis_py: str) -> None:
    assert to_redis_py_url(celery) == redis_py
