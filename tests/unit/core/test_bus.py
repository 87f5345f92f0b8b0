"""Events over Redis: heard by those who listen, failing nobody."""

import asyncio
import time

import pytest

from core.bus import RedisBus, to_redis_py_url
from core.db.clock import utc_now
from core.events import Event, EventType
from tests.support.servers import RedisServer


def event(seq: int, job_id: str = "job-1") -> Event:
    return Event(job_id, seq, EventType.LOG, utc_now(), {"message": f"{seq}"})


@pytest.mark.services
async def test_every_listener_of_a_job_hears_its_events_and_no_others(redis_url: str) -> None:
    here, there = RedisBus(redis_url), RedisBus(redis_url)
    first, second, other = here.subscribe("job-1"), here.subscribe("job-1"), here.subscribe("job-2")
    assert await here.wait_for_subscription(20)
    told = [event(1), event(2), event(1, "job-2")]
    await asyncio.to_thread(there.publish, told)
    assert [await anext(first), await anext(first)] == told[:2]
    assert [await anext(second), await anext(second)] == told[:2]
    assert await anext(other) == told[2]
    first.close()
    there.publish([event(3)])
    assert (await anext(second)).seq == 3
    await here.aclose()
    there.close()


@pytest.mark.services
async def test_a_wait_that_was_given_up_loses_nothing(redis_url: str) -> None:
    bus = RedisBus(redis_url)
    async with bus.subscribe("job-1") as listener:
        assert await bus.wait_for_subscription(20)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(listener), 0.05)
        bus.publish([event(1)])
        assert (await anext(listener)).seq == 1
    await bus.aclose()


@pytest.mark.services
async def test_a_redis_that_goes_and_comes_back_fails_nobody(
    own_valkey: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.bus._RETRY_DELAY_S", 0.0)
    bus = RedisBus(own_valkey.url)
    listener = bus.subscribe("job-1")
    assert await bus.wait_for_subscription(20)
    own_valkey.kill()
    bus.publish([event(1)])  # lost, silently
    while await bus.wait_for_subscription(0.0):
        await asyncio.sleep(0.01)
    own_valkey.start()
    assert await bus.wait_for_subscription(20)
    bus.publish([event(2)])
    assert (await anext(listener)).seq == 2
    await bus.aclose()


def test_publishing_rests_after_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    bus = RedisBus("redis+socket:///nowhere/at/all.sock?virtual_host=0")
    bus.publish([event(1)])
    monkeypatch.setattr(bus, "_publisher", None)  # touching it again would raise
    bus.publish([event(2)])
    assert bus._retry_at > time.monotonic()


@pytest.mark.parametrize(
    ("celery", "redis_py"),
    [
        ("redis+socket:///a/b.sock?virtual_host=3", "unix:///a/b.sock?db=3"),
        ("redis+socket:///a/b.sock", "unix:///a/b.sock?db=0"),
        ("redis://:secret@host:6379/1", "redis://:secret@host:6379/1"),
    ],
)
def test_the_url_of_a_socket_is_translated(celery: str, redis_py: str) -> None:
    assert to_redis_py_url(celery) == redis_py
