"""The streams of sweeps have the present state of each sweep after every change, until all have ended."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import delete

from app.services import event_streams
from app.services.event_position import EventPosition
from app.services.event_streams import EventStreams
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


async def test_a_client_that_reconnects_gets_what_it_has_missed(
    streams: EventStreams, state: State, sweep_id: str, touch: Change
) -> None:
    other = await asyncio.to_thread(add_sweep, state.sessions, build_sweep(), name="other")
    stream = await streams.open_sweeps([sweep_id, other], None)
    assert stream is not None
    events = aiter(stream)
    assert {(await take(events))[0] for _ in range(2)} == {sweep_id, other}
    position = await streams.decode_position(stream.position.encode())
    stream.close()
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
