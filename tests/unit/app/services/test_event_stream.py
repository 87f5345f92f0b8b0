"""The event stream of a job: no event is lost or repeated, whatever the bus loses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from app.services.event_stream import EventStreams
from app.state import State
from core.db.repos.events import EventRepo
from core.db.session import transaction
from core.errors import NotFound
from core.events import Event
from tests.support.bus import MemoryBus

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def bus(state: State) -> MemoryBus:
    assert isinstance(state.bus, MemoryBus)
    return state.bus


async def list_numbers(events: AsyncIterator[Event]) -> list[int]:
    return [event.seq async for event in events]


async def take_numbers(events: AsyncIterator[Event], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(events), 60)).seq for _ in range(count)]


async def wait_for_listeners(bus: MemoryBus, count: int = 1) -> None:
    """Wait until so many streams have read all stored events and wait for the bus."""
    async with asyncio.timeout(60):
        while sum(listener.is_waiting for listener in bus.subscriptions) < count:
            await asyncio.sleep(0.001)


async def test_stored_events_are_streamed_until_the_end_event(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    add_lines(1200)  # more than a page
    end_job()
    streams = EventStreams(state.sessions, bus, poll_s=600)
    assert await list_numbers(streams.stream_events(job_id, 0)) == list(range(1, 1204))  # queued, lines, cancelled, end
    assert await list_numbers(streams.stream_events(job_id, 1200)) == [1201, 1202, 1203]


async def test_new_events_come_from_the_bus_without_a_query(
    state: State,
    bus: MemoryBus,
    job_id: str,
    add_lines: Callable[[int], None],
    end_job: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    events = streams.stream_events(job_id, 0)
    assert await take_numbers(events, 1) == [1]
    follower = asyncio.create_task(list_numbers(events))
    await wait_for_listeners(bus)
    monkeypatch.setattr(streams, "_read_page", None)  # a query would raise
    await asyncio.to_thread(add_lines, 3)
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(follower, 60) == [2, 3, 4, 5, 6]
    assert bus.subscriptions == []


async def test_gap_in_numbers_is_filled_from_the_database(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None]
) -> None:
    events = EventStreams(state.sessions, bus, poll_s=600).stream_events(job_id, 0)
    assert await take_numbers(events, 1) == [1]
    waiting = asyncio.create_task(take_numbers(events, 4))
    await wait_for_listeners(bus)
    bus.is_unavailable = True
    await asyncio.to_thread(add_lines, 3)
    bus.is_unavailable = False
    await asyncio.to_thread(add_lines, 1)
    assert await waiting == [2, 3, 4, 5]
    await events.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_database_is_polled_while_the_bus_is_unavailable(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    bus.is_unavailable = True
    follower = asyncio.create_task(
        list_numbers(EventStreams(state.sessions, bus, poll_s=0.05).stream_events(job_id, 0))
    )
    await asyncio.to_thread(add_lines, 2)
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(follower, 60) == [1, 2, 3, 4, 5]


async def test_event_that_is_published_twice_is_streamed_once(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    events = EventStreams(state.sessions, bus, poll_s=600).stream_events(job_id, 0)
    assert await take_numbers(events, 1) == [1]
    follower = asyncio.create_task(list_numbers(events))
    await wait_for_listeners(bus)
    await asyncio.to_thread(add_lines, 1)
    with transaction(state.sessions, read_only=True) as session:
        bus.publish(EventRepo(session).list_after(job_id, 0))
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(follower, 60) == [2, 3, 4]


async def test_waiting_streams_use_no_database_connection(state: State, bus: MemoryBus, job_id: str) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    followers = [streams.stream_events(job_id, 0) for _ in range(30)]
    for follower in followers:
        assert await take_numbers(follower, 1) == [1]
    waiting = [asyncio.create_task(take_numbers(follower, 1)) for follower in followers]
    await wait_for_listeners(bus, 30)
    assert state.sessions.kw["bind"].pool.checkedout() == 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_unknown_job_has_no_events(state: State, bus: MemoryBus) -> None:
    with pytest.raises(NotFound):
        await EventStreams(state.sessions, bus).has_more("0" * 32, 0)
