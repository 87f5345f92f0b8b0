"""The stream of all jobs has state and progress of every job, also of later ones, whatever the bus loses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.services import event_reader, topic_feed
from app.services.event_position import EventPosition
from app.services.event_streams import EventStreams
from app.services.topic_stream import TopicStream
from app.state import State
from core.db.clock import utc_now
from core.db.repos.events import EventRepo
from core.db.session import transaction
from core.events import Event, EventType
from tests.support.bus import MemoryBus

Post = Callable[..., dict[str, Any]]
Append = Callable[[str, int], None]


@pytest.fixture
def bus(state: State) -> MemoryBus:
    assert isinstance(state.bus, MemoryBus)
    return state.bus


@pytest.fixture
def append(state: State) -> Append:
    """Append progress events to a job, each after a log event."""

    def add(job_id: str, count: int) -> None:
        with transaction(state.sessions) as session:
            EventRepo(session).append(job_id, [(EventType.LOG, {}), (EventType.PROGRESS, {"epoch": 1})] * count)

    return add


async def take(events: AsyncIterator[Event], count: int) -> list[tuple[str, int]]:
    return [(event.job_id, event.seq) for event in [await asyncio.wait_for(anext(events), 60) for _ in range(count)]]


async def wait_for_advance(stream: TopicStream, text: str) -> None:
    """Wait until the id of the stream is shorter than `text`."""
    async with asyncio.timeout(60):
        while len(stream.position.encode()) >= len(text):
            await asyncio.sleep(0.01)


async def test_a_stream_starts_with_the_present_and_has_no_logs(
    state: State, bus: MemoryBus, job_id: str, post_job: Post, append: Append
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    await asyncio.to_thread(append, job_id, 1)
    stream = await streams.open_topic(None)
    events = aiter(stream)
    waiting = asyncio.ensure_future(take(events, 3))
    await asyncio.sleep(0.05)  # the feed subscribes
    later = str((await asyncio.to_thread(post_job))["id"])
    await asyncio.to_thread(append, job_id, 1)
    await asyncio.to_thread(append, later, 1)
    assert await waiting == [(later, 1), (job_id, 5), (later, 3)]
    stream.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not bus.subscriptions
    assert not streams._streams


async def test_events_that_the_bus_lost_are_found_by_the_poll(
    state: State, bus: MemoryBus, job_id: str, post_job: Post, append: Append
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=0.05)
    opened = [await streams.open_topic(None) for _ in range(3)]
    waiting = [asyncio.ensure_future(take(aiter(stream), 3)) for stream in opened]
    await asyncio.sleep(0.2)
    bus.is_unavailable = True
    later = str((await asyncio.to_thread(post_job))["id"])
    await asyncio.to_thread(append, job_id, 2)
    for seen in await asyncio.gather(*waiting):
        assert sorted(seen) == sorted([(later, 1), (job_id, 3), (job_id, 5)])
    for stream in opened:
        stream.close()


async def test_a_gap_is_read_before_the_next_event(state: State, bus: MemoryBus, job_id: str, append: Append) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await streams.open_topic(None)
    waiting = asyncio.ensure_future(take(aiter(stream), 4))
    await asyncio.sleep(0.05)
    for is_unavailable in (True, False, True, False):
        bus.is_unavailable = is_unavailable
        await asyncio.to_thread(append, job_id, 1)
    assert await waiting == [(job_id, 3), (job_id, 5), (job_id, 7), (job_id, 9)]
    stream.close()


async def test_ids_forget_idle_jobs_without_a_repeat(
    state: State, bus: MemoryBus, job_id: str, post_job: Post, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "SETTLED_S", 0.2)
    streams = EventStreams(state.sessions, bus, poll_s=0.05)
    stream = await streams.open_topic(None)
    events = aiter(stream)
    waiting = asyncio.ensure_future(take(events, 1))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(append, job_id, 1)
    assert await waiting == [(job_id, 3)]
    text = stream.position.encode()
    waiting = asyncio.ensure_future(take(events, 1))  # the position advances while the stream waits
    await wait_for_advance(stream, text)
    idle = EventPosition.decode(stream.position.encode(), now=utc_now())
    assert idle.find_number(job_id) is None
    other = str((await asyncio.to_thread(post_job))["id"])
    assert await waiting == [(other, 1)]
    stream.close()
    await asyncio.to_thread(append, job_id, 1)
    for position in (idle, EventPosition.decode(text, now=utc_now())):
        stream = await streams.open_topic(position)
        assert await take(aiter(stream), 2) == [(other, 1), (job_id, 5)]
        stream.close()


async def test_a_client_that_reads_slowly_continues_from_the_database(
    state: State, bus: MemoryBus, job_id: str, append: Append, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(topic_feed, "MAX_TOPIC_EVENTS", 5)
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await streams.open_topic(None)
    events = aiter(stream)
    waiting = asyncio.ensure_future(take(events, 1))
    await asyncio.sleep(0.05)
    await asyncio.to_thread(append, job_id, 1)
    assert await waiting == [(job_id, 3)]
    for _ in range(10):
        await asyncio.to_thread(append, job_id, 2)
    await asyncio.sleep(0.05)
    assert await take(events, 20) == [(job_id, seq) for seq in range(5, 44, 2)]
    stream.close()
