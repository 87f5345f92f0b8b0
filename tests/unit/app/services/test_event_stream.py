"""A job's events: the past from rows, the present from the bus, without gap or repeat whatever the bus loses."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi.testclient import TestClient

from app.services.event_stream import EventStreams
from app.state import State
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.errors import NotFound
from core.events import Event, EventType
from core.jobs import StopRequest
from tests.support.bus import MemoryBus

Post = Callable[..., dict[str, Any]]


@pytest.fixture
def bus(state: State) -> MemoryBus:
    assert isinstance(state.bus, MemoryBus)
    return state.bus


@pytest.fixture
def job_id(post_job: Post) -> str:
    return str(post_job()["id"])


@pytest.fixture
def tell(state: State, job_id: str) -> Callable[[int], None]:
    """Let the job say so many lines."""

    def tell_(count: int) -> None:
        with transaction(state.sessions) as session:
            EventRepo(session).append(job_id, [(EventType.LOG, {"level": "info", "message": "a line"})] * count)

    return tell_


@pytest.fixture
def end(state: State, job_id: str) -> Callable[[], None]:
    def end_() -> None:
        with transaction(state.sessions) as session:
            JobRepo(session).request_stop(job_id, StopRequest.CANCEL)

    return end_


async def numbers(events: AsyncIterator[Event]) -> list[int]:
    return [event.seq async for event in events]


async def take(events: AsyncIterator[Event], count: int) -> list[int]:
    return [(await asyncio.wait_for(anext(events), 60)).seq for _ in range(count)]


async def all_wait(bus: MemoryBus, count: int = 1) -> None:
    """Until so many have read what there was, and wait for the bus."""
    async with asyncio.timeout(60):
        while sum(listener.is_waiting for listener in bus.listeners) < count:
            await asyncio.sleep(0.001)


async def test_the_past_is_told_whole_and_the_end_closes_it(
    state: State, bus: MemoryBus, job_id: str, tell: Callable[[int], None], end: Callable[[], None]
) -> None:
    tell(1200)  # more than a page
    end()
    streams = EventStreams(state.sessions, bus, poll_s=600)
    assert await numbers(streams.stream_events(job_id, 0)) == list(range(1, 1204))  # queued, lines, cancelled, end
    assert await numbers(streams.stream_events(job_id, 1200)) == [1201, 1202, 1203]


async def test_the_present_comes_over_the_bus_without_asking_the_rows(
    state: State,
    bus: MemoryBus,
    job_id: str,
    tell: Callable[[int], None],
    end: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    events = streams.stream_events(job_id, 0)
    assert await take(events, 1) == [1]
    follower = asyncio.create_task(numbers(events))
    await all_wait(bus)
    monkeypatch.setattr(streams, "_read_page", None)  # asking them would raise
    await asyncio.to_thread(tell, 3)
    await asyncio.to_thread(end)
    assert await asyncio.wait_for(follower, 60) == [2, 3, 4, 5, 6]
    assert bus.listeners == []


async def test_what_the_bus_lost_is_read_when_the_next_one_shows_the_gap(
    state: State, bus: MemoryBus, job_id: str, tell: Callable[[int], None]
) -> None:
    events = EventStreams(state.sessions, bus, poll_s=600).stream_events(job_id, 0)
    assert await take(events, 1) == [1]
    waiting = asyncio.create_task(take(events, 4))
    await all_wait(bus)
    bus.is_away = True
    await asyncio.to_thread(tell, 3)
    bus.is_away = False
    await asyncio.to_thread(tell, 1)
    assert await waiting == [2, 3, 4, 5]
    await events.aclose()  # type: ignore[attr-defined]  # an async generator


async def test_without_the_bus_the_rows_are_polled(
    state: State, bus: MemoryBus, job_id: str, tell: Callable[[int], None], end: Callable[[], None]
) -> None:
    bus.is_away = True
    follower = asyncio.create_task(numbers(EventStreams(state.sessions, bus, poll_s=0.05).stream_events(job_id, 0)))
    await asyncio.to_thread(tell, 2)
    await asyncio.to_thread(end)
    assert await asyncio.wait_for(follower, 60) == [1, 2, 3, 4, 5]


async def test_an_event_that_comes_twice_is_told_once(
    state: State, bus: MemoryBus, job_id: str, tell: Callable[[int], None], end: Callable[[], None]
) -> None:
    events = EventStreams(state.sessions, bus, poll_s=600).stream_events(job_id, 0)
    assert await take(events, 1) == [1]
    follower = asyncio.create_task(numbers(events))
    await all_wait(bus)
    await asyncio.to_thread(tell, 1)
    with transaction(state.sessions, read_only=True) as session:
        bus.publish(EventRepo(session).since(job_id, 0))
    await asyncio.to_thread(end)
    assert await asyncio.wait_for(follower, 60) == [2, 3, 4]


async def test_no_connection_is_held_while_waiting(state: State, bus: MemoryBus, job_id: str) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    followers = [streams.stream_events(job_id, 0) for _ in range(30)]
    for follower in followers:
        assert await take(follower, 1) == [1]
    waiting = [asyncio.create_task(take(follower, 1)) for follower in followers]
    await all_wait(bus, 30)
    assert state.sessions.kw["bind"].pool.checkedout() == 0
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_job_that_is_not_there_has_no_events(state: State, bus: MemoryBus) -> None:
    with pytest.raises(NotFound):
        await EventStreams(state.sessions, bus).has_more("0" * 32, 0)


def messages(text: str) -> list[dict[str, str]]:
    blocks = [block for block in text.replace("\r\n", "\n").split("\n\n") if block.strip()]
    return [dict(line.split(": ", 1) for line in block.split("\n")) for block in blocks]


def test_events_travel_as_server_sent_events_with_ids(
    client: TestClient, job_id: str, tell: Callable[[int], None], end: Callable[[], None]
) -> None:
    tell(1)
    end()
    answer = client.get(f"/v1/jobs/{job_id}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = messages(answer.text)
    assert [(message["id"], message["event"]) for message in told] == [
        ("1", "state"),
        ("2", "log"),
        ("3", "state"),
        ("4", "end"),
    ]
    assert '"message": "a line"' in told[1]["data"]


def test_last_event_id_continues(client: TestClient, job_id: str, end: Callable[[], None]) -> None:
    end()
    later = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "2"})
    assert [message["id"] for message in messages(later.text)] == ["3"]
    nothing = client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": "3"})
    assert (nothing.status_code, nothing.content) == (204, b"")


@pytest.mark.parametrize("last", ["x", "-1", "99999999999999999999"])
def test_a_wrong_last_event_id_is_refused(client: TestClient, job_id: str, last: str) -> None:
    assert client.get(f"/v1/jobs/{job_id}/events", headers={"Last-Event-ID": last}).status_code == 422
