"""The event stream of a job: no event is lost or repeated, whatever the bus loses."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy.exc import OperationalError

from app.services import event_streams
from app.services.event_reader import EventState
from app.services.event_stream import EventStream
from app.services.event_streams import EventStreams
from app.state import State
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.errors import NotFound, Overloaded
from core.events import Event
from tests.support.bus import MemoryBus

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def bus(state: State) -> MemoryBus:
    assert isinstance(state.bus, MemoryBus)
    return state.bus


async def open_stream(streams: EventStreams, job_id: str, after: int = 0) -> EventStream:
    stream = await streams.open(job_id, after)
    assert stream is not None
    return stream


async def list_numbers(stream: EventStream) -> list[int]:
    try:
        return [event.seq async for event in stream]
    finally:
        stream.close()


async def take_numbers(events: AsyncIterator[Event], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(events), 60)).seq for _ in range(count)]


async def wait_for_feed(bus: MemoryBus) -> None:
    """Wait until the feed waits for the bus, and until streams that read the database have done so."""
    async with asyncio.timeout(60):
        while not any(listener.is_waiting for listener in bus.subscriptions):
            await asyncio.sleep(0.001)


async def test_stored_events_are_streamed_until_the_end_event(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    add_lines(1200)  # more than a page
    end_job()
    streams = EventStreams(state.sessions, bus, poll_s=600)
    expected = list(range(1, 1204))  # queued, lines, cancelled, end
    assert await list_numbers(await open_stream(streams, job_id)) == expected
    assert await list_numbers(await open_stream(streams, job_id, 1200)) == [1201, 1202, 1203]
    assert await streams.open(job_id, 1203) is None


async def test_new_events_come_from_the_bus_without_a_query(
    state: State,
    bus: MemoryBus,
    job_id: str,
    add_lines: Callable[[int], None],
    end_job: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await open_stream(streams, job_id)
    events = aiter(stream)
    assert await take_numbers(events, 1) == [1]
    rest = asyncio.create_task(take_numbers(events, 5))
    await wait_for_feed(bus)
    await asyncio.to_thread(add_lines, 1)  # the first event of the bus tells the feed where the job is
    async with asyncio.timeout(60):
        while stream.feeds[0].list_recent(1) is None:
            await asyncio.sleep(0.001)
    monkeypatch.setattr(streams._reader, "read_page", None)  # a query would raise
    await asyncio.to_thread(add_lines, 2)
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(rest, 60) == [2, 3, 4, 5, 6]
    stream.close()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert bus.subscriptions == []


async def test_gap_in_numbers_is_filled_from_the_database(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None]
) -> None:
    stream = await open_stream(EventStreams(state.sessions, bus, poll_s=600), job_id)
    events = aiter(stream)
    assert await take_numbers(events, 1) == [1]
    waiting = asyncio.create_task(take_numbers(events, 5))
    await wait_for_feed(bus)
    await asyncio.to_thread(add_lines, 1)
    bus.is_unavailable = True
    await asyncio.to_thread(add_lines, 3)
    bus.is_unavailable = False
    await asyncio.to_thread(add_lines, 1)
    assert await waiting == [2, 3, 4, 5, 6]
    stream.close()


async def test_database_is_polled_while_the_bus_is_unavailable(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    bus.is_unavailable = True
    stream = await open_stream(EventStreams(state.sessions, bus, poll_s=0.05), job_id)
    follower = asyncio.create_task(list_numbers(stream))
    await asyncio.to_thread(add_lines, 2)
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(follower, 60) == [1, 2, 3, 4, 5]


async def test_event_that_is_published_twice_is_streamed_once(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], end_job: Callable[[], None]
) -> None:
    stream = await open_stream(EventStreams(state.sessions, bus, poll_s=600), job_id)
    follower = asyncio.create_task(list_numbers(stream))
    await wait_for_feed(bus)
    await asyncio.to_thread(add_lines, 1)
    with transaction(state.sessions, read_only=True) as session:
        bus.publish(EventRepo(session).list_after(job_id, 0))
    await asyncio.to_thread(end_job)
    assert await asyncio.wait_for(follower, 60) == [1, 2, 3, 4]


async def test_all_streams_of_all_jobs_share_one_query_per_poll(
    state: State, bus: MemoryBus, post_job: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_ids = [str(post_job()["id"]) for _ in range(2)]
    streams = EventStreams(state.sessions, bus, poll_s=0.01)
    followers = [await open_stream(streams, job_id) for job_id in job_ids for _ in range(30)]
    iterators = [aiter(follower) for follower in followers]
    for iterator in iterators:
        assert await take_numbers(iterator, 1) == [1]
    waiting = [asyncio.create_task(take_numbers(iterator, 1)) for iterator in iterators]
    await asyncio.sleep(0.1)  # the first poll may wake the streams once
    queries: list[list[str]] = []
    read_states = streams._reader.read_states

    def record_states(ids: Sequence[str]) -> dict[str, EventState]:
        queries.append(list(ids))
        return read_states(ids)

    monkeypatch.setattr(streams._reader, "read_states", record_states)
    monkeypatch.setattr(streams._reader, "read_page", None)  # a query of a stream would raise
    async with asyncio.timeout(60):
        while len(queries) < 3:
            await asyncio.sleep(0.01)
    assert all(sorted(ids) == sorted(job_ids) for ids in queries)
    assert state.sessions.kw["bind"].pool.checkedout() == 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for follower in followers:
        follower.close()


async def test_limit_of_streams_holds_for_requests_at_the_same_time(
    state: State, bus: MemoryBus, job_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "MAX_STREAMS", 5)
    streams = EventStreams(state.sessions, bus, poll_s=600)
    results = await asyncio.gather(*(streams.open(job_id, 0) for _ in range(12)), return_exceptions=True)
    opened = [result for result in results if isinstance(result, EventStream)]
    assert len(opened) == 5
    assert all(isinstance(result, EventStream | Overloaded) for result in results)
    opened[0].close()
    opened[0].close()  # has no further effect
    opened[0] = await open_stream(streams, job_id)
    with pytest.raises(Overloaded):
        await streams.open(job_id, 0)
    for stream in opened:
        stream.close()


async def test_job_with_few_streams_gets_the_place_of_a_job_with_many(
    state: State, bus: MemoryBus, post_job: Post, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "MAX_STREAMS", 4)
    crowded, other = (str(post_job()["id"]) for _ in range(2))
    streams = EventStreams(state.sessions, bus, poll_s=600)
    opened = [await open_stream(streams, crowded) for _ in range(4)]
    evicted = asyncio.create_task(list_numbers(opened[3]))
    await asyncio.sleep(0)
    opened += [await open_stream(streams, other), await open_stream(streams, other)]
    assert await asyncio.wait_for(evicted, 60) in ([], [1])
    with pytest.raises(Overloaded):  # both jobs have two streams now
        await streams.open(other, 0)
    for stream in opened:
        stream.close()


async def test_stream_ends_when_its_job_is_deleted(
    state: State, bus: MemoryBus, job_id: str, end_job: Callable[[], None], client: TestClient
) -> None:
    end_job()
    stream = await open_stream(EventStreams(state.sessions, bus, poll_s=0.01), job_id, 2)
    with transaction(state.sessions) as session:
        JobRepo(session).delete(job_id)
    assert await asyncio.wait_for(list_numbers(stream), 60) == []


async def test_unknown_job_has_no_events(state: State, bus: MemoryBus) -> None:
    streams = EventStreams(state.sessions, bus)
    with pytest.raises(NotFound):
        await streams.open("0" * 32, 0)
    assert not streams._streams


async def test_feed_continues_after_the_database_was_unavailable_at_a_gap(
    state: State, bus: MemoryBus, job_id: str, add_lines: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await open_stream(streams, job_id)
    events = aiter(stream)
    assert await take_numbers(events, 1) == [1]
    waiting = asyncio.create_task(take_numbers(events, 6))
    await wait_for_feed(bus)
    await asyncio.to_thread(add_lines, 1)
    bus.is_unavailable = True
    await asyncio.to_thread(add_lines, 3)
    bus.is_unavailable = False

    async def fail(*_: object) -> list[Event]:
        raise OperationalError("SELECT 1", {}, Exception("locked"))

    monkeypatch.setattr(stream.feeds[0], "_read_events", fail)
    await asyncio.to_thread(add_lines, 1)
    await asyncio.to_thread(add_lines, 1)
    assert await asyncio.wait_for(waiting, 60) == [2, 3, 4, 5, 6, 7]
    stream.close()


async def test_poll_continues_after_an_unexpected_error(
    state: State, bus: MemoryBus, job_id: str, end_job: Callable[[], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    bus.is_unavailable = True
    streams = EventStreams(state.sessions, bus, poll_s=0.01)
    read_states, calls = streams._reader.read_states, list[int]()

    def fail_once(job_ids: Sequence[str]) -> dict[str, EventState]:
        calls.append(1)
        if len(calls) == 1:
            raise ValueError("unexpected")
        return read_states(job_ids)

    stream = await open_stream(streams, job_id)
    monkeypatch.setattr(streams._reader, "read_states", fail_once)
    events = aiter(stream)
    assert await take_numbers(events, 1) == [1]
    waiting = asyncio.create_task(take_numbers(events, 2))
    async with asyncio.timeout(60):
        while not calls:
            await asyncio.sleep(0.001)
    await asyncio.to_thread(end_job)
    assert await waiting == [2, 3]
    stream.close()
