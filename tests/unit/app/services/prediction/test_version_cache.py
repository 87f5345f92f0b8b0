"""Which version a name stands for: remembered briefly, looked up again before anybody has to wait for it."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.services.prediction import version_cache as module
from app.services.prediction.version_cache import CACHE_TTL_S, ServedModel, VersionCache
from app.state import State
from core.errors import NotFound, Unavailable
from tests.support import bundles
from tests.support.fakes import Clock

CHAMPION = "shapes@champion"
SOON_OLD_S = 0.9 * CACHE_TTL_S


async def test_an_alias_that_is_moved_shows_within_a_second(state: State, lookup: VersionCache, clock: Clock) -> None:
    assert (await lookup.get("shapes@champion")).version == 1
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += 1
    assert (await lookup.get("shapes@champion")).version == 2


async def test_a_lookup_is_remembered_and_shared(state: State, lookup: VersionCache, clock: Clock) -> None:
    found = await asyncio.gather(*(lookup.get("shapes@champion") for _ in range(10)))
    assert len(set(map(id, found))) == 1
    clock.now += CACHE_TTL_S / 2
    assert await lookup.get("shapes@champion") is found[0]


async def test_a_model_that_was_missing_is_found_once_it_is_there(state: State, lookup: VersionCache) -> None:
    with pytest.raises(NotFound):
        await lookup.get("new")
    bundles.register(state.sessions, state.storage, "new", 1)
    assert (await lookup.get("new")).version == 1


class Gate:
    """Queries that are answered when it opens, with what was true when they came to it."""

    def __init__(self, lookup: VersionCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.num_waiting = 0
        self._read = lookup._query_version
        monkeypatch.setattr(lookup, "_query_version", self._pass)

    def _pass(self, ref: str, variant: str | None) -> ServedModel:
        found = self._read(ref, variant)
        self.num_waiting += 1
        assert self.open.wait(60)
        self.num_waiting -= 1
        return found

    async def until(self, num_waiting: int) -> None:
        async with asyncio.timeout(60):
            while self.num_waiting != num_waiting:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # the event loop has heard of it


@pytest.fixture
def gate(lookup: VersionCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate(lookup, monkeypatch)
    gate.open.set()
    yield gate
    gate.open.set()


async def test_nobody_waits_while_it_is_looked_up_again(
    state: State, lookup: VersionCache, clock: Clock, gate: Gate
) -> None:
    assert (await lookup.get(CHAMPION)).version == 1
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    gate.open.clear()
    clock.now += SOON_OLD_S
    for _ in range(3):
        assert (await lookup.get(CHAMPION)).version == 1
        await gate.until(1)
    gate.open.set()
    await gate.until(0)
    assert (await lookup.get(CHAMPION)).version == 2


async def test_what_is_too_old_is_not_told_while_it_is_looked_up_again(
    state: State, lookup: VersionCache, clock: Clock, gate: Gate
) -> None:
    await lookup.get(CHAMPION)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    gate.open.clear()
    clock.now += CACHE_TTL_S
    asking = asyncio.create_task(lookup.get(CHAMPION))
    await gate.until(1)
    assert not asking.done()
    gate.open.set()
    assert (await asking).version == 2


async def test_what_was_looked_up_again_and_not_asked_for_grows_old_as_well(
    state: State, lookup: VersionCache, clock: Clock, gate: Gate
) -> None:
    for _ in range(2):
        assert (await lookup.get(CHAMPION)).version == 1
        clock.now += SOON_OLD_S
    await gate.until(0)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += CACHE_TTL_S
    assert (await lookup.get(CHAMPION)).version == 2


async def test_a_database_that_is_away_is_noticed_when_what_is_known_is_too_old(
    lookup: VersionCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(ref: str, variant: str | None) -> ServedModel:
        raise Unavailable("away", retry_after_s=1)

    await lookup.get(CHAMPION)
    clock.now += SOON_OLD_S
    with monkeypatch.context() as patch:
        patch.setattr(lookup, "_query_version", fail)
        for _ in range(3):
            assert (await lookup.get(CHAMPION)).version == 1
            await asyncio.sleep(0.01)
        clock.now += CACHE_TTL_S - SOON_OLD_S
        with pytest.raises(Unavailable):
            await lookup.get(CHAMPION)
    assert (await lookup.get(CHAMPION)).version == 1


async def test_as_many_as_may_be_remembered_are_looked_up_again_one_by_one(
    lookup: VersionCache, clock: Clock, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    await lookup.get("shapes@1")
    await lookup.get(CHAMPION)
    clock.now += SOON_OLD_S
    async with asyncio.timeout(60):
        await lookup.get("shapes@1")
        while lookup._refreshes:  # what is looked up again takes the place of what was known
            await asyncio.sleep(0.001)
            await lookup.get("shapes@1")
    gate.open.clear()
    asking = asyncio.create_task(lookup.get(CHAMPION))
    await gate.until(1)
    was_known = asking.done()
    gate.open.set()
    assert (await asking).version == 1
    assert was_known


async def test_a_name_that_is_forgotten_is_looked_up_whatever_was_under_way(
    state: State, lookup: VersionCache, clock: Clock, gate: Gate
) -> None:
    await lookup.get(CHAMPION)
    clock.now += SOON_OLD_S
    gate.open.clear()
    await lookup.get(CHAMPION)
    await gate.until(1)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    lookup.invalidate("shapes")
    gate.open.set()
    assert (await lookup.get(CHAMPION)).version == 2
