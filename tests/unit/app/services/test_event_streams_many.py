"""Streams of several jobs: one feed per job, and ids with which a client continues after each event."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from random import Random
from typing import Any

import pytest

from app.services import event_streams
from app.services.event_position import EventPosition
from app.services.event_stream import OpenStream
from app.services.event_streams import EventStreams
from app.state import State
from core.db.clock import utc_now
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import transaction
from core.errors import NotFound, Overloaded
from core.events import Event, EventType
from core.jobs import StopRequest
from tests.support.bus import MemoryBus

Post = Callable[..., dict[str, Any]]
Seen = list[tuple[str, int]]


@pytest.fixture
def bus(state: State) -> MemoryBus:
    assert isinstance(state.bus, MemoryBus)
    return state.bus


@pytest.fixture
def job_ids(post_job: Post) -> list[str]:
    return [str(post_job()["id"]) for _ in range(4)]


@pytest.fixture
def append(state: State) -> Callable[[str], None]:
    """Append a progress event and a log event to a job."""

    def add(job_id: str) -> None:
        with transaction(state.sessions) as session:
            EventRepo(session).append(job_id, [(EventType.PROGRESS, {"epoch": 1}), (EventType.LOG, {})])

    return add


@pytest.fixture
def cancel(state: State) -> Callable[[str], None]:
    def end(job_id: str) -> None:
        with transaction(state.sessions) as session:
            JobRepo(session).request_stop(job_id, StopRequest.CANCEL)

    return end


def copy_position(stream: OpenStream[Any]) -> EventPosition:
    """Return the position that a client has, which only knows the id."""
    return EventPosition.decode(stream.position.encode(), now=utc_now())


async def take(events: AsyncIterator[Event], count: int) -> Seen:
    return [(event.job_id, event.seq) for event in [await asyncio.wait_for(anext(events), 60) for _ in range(count)]]


async def test_a_stream_has_all_events_of_its_jobs_and_ends_with_the_last(
    state: State, bus: MemoryBus, job_ids: list[str], append: Callable[[str], None], cancel: Callable[[str], None]
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await streams.open_jobs(job_ids[:3], None)
    assert stream is not None
    events = aiter(stream)
    assert sorted(await take(events, 3)) == sorted((job_id, 1) for job_id in job_ids[:3])
    waiting = asyncio.ensure_future(take(events, 2 + 3 * 2))
    await asyncio.sleep(0.01)
    for job_id in job_ids:  # the stream does not have the fourth
        await asyncio.to_thread(append if job_id == job_ids[0] else cancel, job_id)
    await asyncio.to_thread(cancel, job_ids[0])
    seen = await waiting
    assert [seq for job_id, seq in seen if job_id == job_ids[0]] == [2, 3, 4, 5]
    assert [seq for job_id, seq in seen if job_id == job_ids[1]] == [2, 3]
    assert not [seq for job_id, seq in seen if job_id == job_ids[3]]
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(events), 60)
    position = copy_position(stream)
    stream.close()
    assert await streams.open_jobs(job_ids[:3], position) is None
    assert not streams._feeds


async def test_streams_of_one_job_share_its_feed_and_its_query(
    state: State, bus: MemoryBus, job_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=0.01)
    opened = [await streams.open_jobs(job_ids, None) for _ in range(5)] + [await streams.open(job_ids[0], 0)]
    await asyncio.sleep(0)  # the feeds subscribe
    assert len(streams._feeds) == len(bus.subscriptions) == 4
    queries: list[list[str]] = []
    read_states = streams._reader.read_states

    def record(ids: Sequence[str]) -> Any:
        queries.append(sorted(ids))
        return read_states(ids)

    monkeypatch.setattr(streams._reader, "read_states", record)
    async with asyncio.timeout(60):
        while len(queries) < 2:
            await asyncio.sleep(0.01)
    assert queries[:2] == [sorted(job_ids)] * 2
    for stream in opened:
        assert stream is not None
        stream.close()
    assert not streams._feeds
    assert streams._poll_task is None


async def test_an_unknown_job_is_not_found_unless_the_client_continues(
    state: State, bus: MemoryBus, job_ids: list[str]
) -> None:
    streams = EventStreams(state.sessions, bus, poll_s=0.01)
    with pytest.raises(NotFound, match="0000"):
        await streams.open_jobs([job_ids[0], "0" * 32], None)
    stream = await streams.open_jobs([job_ids[0], "0" * 32], EventPosition())
    assert stream is not None
    assert await take(aiter(stream), 1) == [(job_ids[0], 1)]
    stream.close()
    assert not streams._streams


async def test_the_number_of_jobs_of_all_streams_is_limited(
    state: State, bus: MemoryBus, job_ids: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "MAX_FEEDS", 3)
    streams = EventStreams(state.sessions, bus, poll_s=600)
    stream = await streams.open_jobs(job_ids[:3], None)
    assert stream is not None
    again = await streams.open_jobs(job_ids[:2], None)  # the feeds exist
    assert again is not None
    with pytest.raises(Overloaded):
        await streams.open_jobs(job_ids[2:], None)
    for opened in (stream, again):
        opened.close()


@pytest.mark.parametrize("kind", ["jobs", "topic"])
async def test_reconnections_and_lost_events_cause_no_gap_or_repeat(
    kind: str,
    state: State,
    bus: MemoryBus,
    job_ids: list[str],
    post_job: Post,
    append: Callable[[str], None],
    cancel: Callable[[str], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A client that loses its connection at random moments, to a process that loses events at random moments."""
    monkeypatch.setattr("app.services.event_reader.SETTLED_S", 0.3)  # so that jobs become idle during the test
    random, seen, followed = Random(3), list[Event](), list(job_ids)
    position: EventPosition | None = EventPosition()
    is_done = asyncio.Event()

    async def write() -> None:
        for _ in range(60):
            bus.is_unavailable = random.random() < 0.3
            if kind == "topic" and random.random() < 0.1:
                followed.append(str((await asyncio.to_thread(post_job))["id"]))
            await asyncio.to_thread(append, random.choice(followed[-3:] if random.random() < 0.7 else followed))
            await asyncio.sleep(random.random() * 0.03)
        for job_id in followed:
            await asyncio.to_thread(cancel, job_id)
        is_done.set()

    async def follow() -> None:
        nonlocal position
        while True:
            streams = EventStreams(state.sessions, bus, poll_s=0.05)  # another process
            opened = streams.open_jobs(job_ids, position) if kind == "jobs" else streams.open_topic(position)
            stream = await opened
            if stream is None:
                return
            try:
                async with asyncio.timeout(random.random() * 0.3):
                    async for event in stream:
                        seen.append(event)
                        position = copy_position(stream)
            except TimeoutError:
                pass
            finally:
                stream.close()
            ended = {event.job_id for event in seen if event.type is EventType.END}
            if kind == "topic" and is_done.is_set() and ended == set(followed):
                return

    async with asyncio.timeout(120):
        await asyncio.gather(write(), follow())
    for job_id in followed:
        with transaction(state.sessions, read_only=True) as session:
            stored = EventRepo(session).list_after(job_id, 0)
        expected = [event.seq for event in stored if kind == "jobs" or event.type is not EventType.LOG]
        mine = [event for event in seen if event.job_id == job_id]
        # Progress that a later epoch superseded is not stored anymore, and may have been received or not.
        superseded = {event.seq for event in mine if event.type is EventType.PROGRESS} - set(expected)
        assert [event.seq for event in mine if event.seq not in superseded] == expected
        assert sorted({event.seq for event in mine}) == [event.seq for event in mine]
