"""The streams of sweeps have the present state of each sweep after every change, until all have ended."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta

import pytest
from sqlalchemy import delete

from app.services import event_reader, event_streams, sweep_stream
from app.services.event_position import EPOCH, EventPosition
from app.services.event_streams import EventStreams
from app.services.sweep_stream import RecentSweeps, SweepFeed, SweepStream
from app.state import State
from core.db.repos.sweep_lists import SweepView
from core.db.repos.sweeps import SweepRepo
from core.db.session import transaction
from core.db.sweep_tables import SweepRow
from core.errors import NotFound, Overloaded
from core.sweeps.states import SweepState
from tests.support.stored_sweeps import add_sweep, get_sweep
from tests.support.sweeps import build_sweep

Change = Callable[[str], None]


@pytest.fixture
def sweep_id(state: State) -> str:
    return add_sweep(state.sessions, build_sweep())


@pytest.fixture
def streams(state: State) -> EventStreams:
    """Streams whose polls are frequent."""
    return EventStreams(state.sessions, state.bus, poll_s=0.02)


@pytest.fixture
def touch(state: State) -> Change:
    """Change a sweep."""

    def touch_(sweep_id: str) -> None:
        with transaction(state.sessions) as session:
            SweepRepo(session).increment_revision(sweep_id)

    return touch_


@pytest.fixture
def end(state: State) -> Change:
    """End a sweep, as maintenance does."""

    def end_(sweep_id: str) -> None:
        with transaction(state.sessions) as session:
            sweeps = SweepRepo(session)
            sweeps.end(sweeps.get(sweep_id, is_locked=True), SweepState.SUCCEEDED)

    return end_


async def take(events: AsyncIterator[SweepView]) -> tuple[str, int, SweepState]:
    sweep = (await asyncio.wait_for(anext(events), 60)).sweep
    return sweep.id, sweep.revision, sweep.state


async def test_a_stream_starts_with_the_present_state_and_ends_with_the_sweep(
    streams: EventStreams, sweep_id: str, touch: Change, end: Change
) -> None:
    stream = await streams.open_sweeps([sweep_id], None)
    assert stream is not None
    events = aiter(stream)
    assert await take(events) == (sweep_id, 0, SweepState.RUNNING)
    await asyncio.to_thread(touch, sweep_id)
    assert await take(events) == (sweep_id, 1, SweepState.RUNNING)
    await asyncio.to_thread(end, sweep_id)
    assert await take(events) == (sweep_id, 2, SweepState.SUCCEEDED)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(events), 60)
    text = stream.position.encode()
    stream.close()
    assert not streams._streams
    assert await streams.open_sweeps([sweep_id], await streams.decode_position(text)) is None


async def read_present(streams: EventStreams, sweep_ids: set[str]) -> EventPosition:
    """Follow sweeps until each was received once, and return the position of the closed stream."""
    stream = await streams.open_sweeps(sorted(sweep_ids), None)
    assert stream is not None
    events = aiter(stream)
    assert {(await take(events))[0] for _ in sweep_ids} == sweep_ids
    stream.close()
    return await streams.decode_position(stream.position.encode())


async def test_a_client_that_reconnects_gets_what_it_has_missed(
    streams: EventStreams, state: State, sweep_id: str, touch: Change
) -> None:
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    position = await read_present(streams, {sweep_id, other})
    await asyncio.to_thread(touch, other)
    again = await streams.open_sweeps([sweep_id, other], position)
    assert again is not None
    assert await take(aiter(again)) == (other, 1, SweepState.RUNNING)
    again.close()


async def test_the_stream_of_all_sweeps_starts_in_the_present(
    streams: EventStreams, state: State, sweep_id: str, touch: Change
) -> None:
    stream = await streams.open_sweeps([], None)
    assert stream is not None
    events = aiter(stream)
    waiting = asyncio.ensure_future(take(events))
    later = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="later")
    assert await waiting == (later, 0, SweepState.RUNNING)
    await asyncio.to_thread(touch, sweep_id)
    assert await take(events) == (sweep_id, 1, SweepState.RUNNING)
    position = await streams.decode_position(stream.position.encode())
    stream.close()
    await asyncio.to_thread(touch, later)
    again = await streams.open_sweeps([], position)
    assert again is not None
    assert await take(aiter(again)) == (later, 1, SweepState.RUNNING)
    again.close()


async def test_the_stream_of_a_deleted_sweep_ends(streams: EventStreams, state: State, sweep_id: str) -> None:
    stream = await streams.open_sweeps([sweep_id], None)
    assert stream is not None
    events = aiter(stream)
    await take(events)

    def delete_sweep() -> None:
        with transaction(state.sessions) as session:
            session.execute(delete(SweepRow))

    await asyncio.to_thread(delete_sweep)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(events), 60)
    stream.close()


async def test_an_unknown_sweep_is_refused_unless_the_stream_continues(streams: EventStreams, sweep_id: str) -> None:
    with pytest.raises(NotFound):
        await streams.open_sweeps([sweep_id, "0" * 32], None)
    stream = await streams.open_sweeps([sweep_id, "0" * 32], EventPosition())
    assert stream is not None
    assert stream.live == {sweep_id}
    stream.close()
    assert not streams._streams


async def test_the_number_of_followed_sweeps_is_limited(
    streams: EventStreams, state: State, sweep_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_streams, "MAX_FEEDS", 1)
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    stream = await streams.open_sweeps([sweep_id], None)
    with pytest.raises(Overloaded):
        await streams.open_sweeps([other], None)
    assert stream is not None
    stream.close()
    assert get_sweep(state.sessions, other).revision == 0


async def test_a_stream_of_an_ended_sweep_has_nothing_to_send_while_another_sweep_changes(
    streams: EventStreams, state: State, sweep_id: str, touch: Change, end: Change
) -> None:
    stream = await streams.open_sweeps([sweep_id], None)
    assert stream is not None
    await asyncio.to_thread(end, sweep_id)
    events = aiter(stream)
    while (await take(events))[2] is not SweepState.SUCCEEDED:
        pass
    position = await streams.decode_position(stream.position.encode())
    stream.close()
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    await asyncio.to_thread(touch, other)
    assert await streams.open_sweeps([sweep_id], position) is None


async def test_a_continued_stream_ends_with_the_sweeps_that_had_not_ended(
    streams: EventStreams, state: State, sweep_id: str, end: Change
) -> None:
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    await asyncio.to_thread(end, sweep_id)
    position = await read_present(streams, {sweep_id, other})
    again = await streams.open_sweeps([sweep_id, other], position)
    assert again is not None
    await asyncio.to_thread(end, other)
    continued = aiter(again)
    assert await take(continued) == (other, 1, SweepState.SUCCEEDED)
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(anext(continued), 60)
    again.close()


def build_id(number: int) -> str:
    return f"{number:016x}" * 2


def build_view(number: int, *, second: int, revision: int = 0) -> SweepView:
    sweep = SweepRow(
        id=build_id(number),
        state=SweepState.RUNNING,
        revision=revision,
        updated_at=EPOCH + timedelta(seconds=second),
    )
    return SweepView(sweep, {}, {}, None, None, 0.0)


class PlayedSweeps:
    """Plays the database and its polls for one stream of all sweeps that starts at second 0."""

    def __init__(self) -> None:
        self.views: dict[str, SweepView] = {}
        self.num_reads = 0
        self.feed = SweepFeed()
        self.stream = SweepStream(
            "all", EventPosition(), lambda stream: None, feed=self.feed, read_sweeps=self.read_sweeps
        )
        self.feed.listeners[self.stream] = None
        self.stream.start_at(RecentSweeps((), {}, EPOCH))

    async def read_sweeps(self, after: tuple[datetime, str]) -> list[SweepView]:
        self.num_reads += 1
        views = sorted(self.views.values(), key=lambda view: (view.sweep.updated_at, view.sweep.id))
        return [view for view in views if (view.sweep.updated_at, view.sweep.id) > after][:2]

    def poll(self, views: list[SweepView], *, settled: int) -> None:
        self.views |= {view.sweep.id: view for view in views}
        revisions = {view.sweep.id: view.sweep.revision for view in views}
        self.feed.update(RecentSweeps(views, revisions, EPOCH + timedelta(seconds=settled)), set())


async def test_a_slow_client_of_all_sweeps_misses_no_change() -> None:
    played = PlayedSweeps()
    events = aiter(played.stream)
    played.poll([build_view(1, second=70)], settled=60)
    assert (await take(events))[0] == build_id(1)
    played.poll([build_view(2, second=80)], settled=62)  # the client has not read further
    played.poll([build_view(3, second=200)], settled=190)
    assert [(await take(events))[0] for _ in range(2)] == [build_id(2), build_id(3)]
    assert played.num_reads == 0


async def test_a_stream_of_all_sweeps_keeps_few_changes_and_reads_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sweep_stream, "MAX_RECEIVED", 3)
    played = PlayedSweeps()
    events = aiter(played.stream)
    played.poll([build_view(number, second=10) for number in range(1, 6)], settled=5)
    assert not played.stream._received
    assert [(await take(events))[0] for _ in range(3)] == [build_id(number) for number in (1, 2, 3)]
    played.poll([build_view(number, second=200) for number in range(10, 14)], settled=190)
    others = {(await take(events))[0] for _ in range(6)}
    assert others == {build_id(number) for number in (4, 5, 10, 11, 12, 13)}
    waiting = asyncio.ensure_future(take(events))
    played.poll([build_view(5, second=201, revision=1)], settled=191)
    assert await waiting == (build_id(5), 1, SweepState.RUNNING)
    assert played.stream.position.cutoff >= EPOCH + timedelta(seconds=190)


async def test_a_client_that_reconnects_reads_the_changes_of_all_sweeps_in_pages(
    streams: EventStreams, state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_reader, "SWEEP_PAGE_SIZE", 2)
    names = [f"sweep-{number}" for number in range(5)]
    sweep_ids = [await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name=name) for name in names]
    stream = await streams.open_sweeps([], EventPosition())
    assert stream is not None
    events = aiter(stream)
    assert [(await take(events))[0] for _ in sweep_ids] == sweep_ids
    stream.close()
