"""The version cache: expiry, refresh before expiry, and invalidation."""

import asyncio
import threading
from collections.abc import Iterator

import pytest

from app.services.prediction import version_cache as module
from app.services.prediction.default_variants import DefaultVariants
from app.services.prediction.version_cache import CACHE_TTL_S, ServedModel, VersionCache
from app.state import State
from core.db.repos.variants import VariantRepo
from core.db.session import transaction
from core.errors import NotFound, Unavailable
from tests.support import bundles
from tests.support.fakes import Clock

CHAMPION = "shapes@champion"
ALMOST_EXPIRED_S = 0.9 * CACHE_TTL_S


async def test_moved_alias_is_seen_within_a_second(state: State, version_cache: VersionCache, clock: Clock) -> None:
    assert (await version_cache.get("shapes@champion")).version == 1
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += 1
    assert (await version_cache.get("shapes@champion")).version == 2


async def test_concurrent_requests_share_a_query_and_its_result(
    state: State, version_cache: VersionCache, clock: Clock
) -> None:
    models = await asyncio.gather(*(version_cache.get("shapes@champion") for _ in range(10)))
    assert len(set(map(id, models))) == 1
    clock.now += CACHE_TTL_S / 2
    assert await version_cache.get("shapes@champion") is models[0]


async def test_missing_model_is_found_once_it_exists(state: State, version_cache: VersionCache) -> None:
    with pytest.raises(NotFound):
        await version_cache.get("new")
    bundles.register_model(state.sessions, state.storage, "new", 1)
    assert (await version_cache.get("new")).version == 1


class QueryGate:
    """Blocks queries, which have read the database already, until it opens."""

    def __init__(self, version_cache: VersionCache, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open = threading.Event()
        self.num_waiting = 0
        self._read = version_cache._query_version
        monkeypatch.setattr(version_cache, "_query_version", self._pass)

    def _pass(self, ref: str, variant: str | None) -> ServedModel:
        model = self._read(ref, variant)
        self.num_waiting += 1
        assert self.open.wait(60)
        self.num_waiting -= 1
        return model

    async def wait_until(self, num_waiting: int) -> None:
        async with asyncio.timeout(60):
            while self.num_waiting != num_waiting:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)  # lets the event loop receive the result


@pytest.fixture
def gate(version_cache: VersionCache, monkeypatch: pytest.MonkeyPatch) -> Iterator[QueryGate]:
    gate = QueryGate(version_cache, monkeypatch)
    gate.open.set()
    yield gate
    gate.open.set()


async def test_current_entry_is_returned_while_it_is_refreshed(
    state: State, version_cache: VersionCache, clock: Clock, gate: QueryGate
) -> None:
    assert (await version_cache.get(CHAMPION)).version == 1
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    gate.open.clear()
    clock.now += ALMOST_EXPIRED_S
    for _ in range(3):
        assert (await version_cache.get(CHAMPION)).version == 1
        await gate.wait_until(1)
    gate.open.set()
    await gate.wait_until(0)
    assert (await version_cache.get(CHAMPION)).version == 2


async def test_expired_entry_waits_for_the_query(
    state: State, version_cache: VersionCache, clock: Clock, gate: QueryGate
) -> None:
    await version_cache.get(CHAMPION)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    gate.open.clear()
    clock.now += CACHE_TTL_S
    task = asyncio.create_task(version_cache.get(CHAMPION))
    await gate.wait_until(1)
    assert not task.done()
    gate.open.set()
    assert (await task).version == 2


async def test_refreshed_entry_expires_too(
    state: State, version_cache: VersionCache, clock: Clock, gate: QueryGate
) -> None:
    for _ in range(2):
        assert (await version_cache.get(CHAMPION)).version == 1
        clock.now += ALMOST_EXPIRED_S
    await gate.wait_until(0)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += CACHE_TTL_S
    assert (await version_cache.get(CHAMPION)).version == 2


async def test_database_failure_is_raised_once_the_entry_expires(
    version_cache: VersionCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(ref: str, variant: str | None) -> ServedModel:
        raise Unavailable("away", retry_after_s=1)

    await version_cache.get(CHAMPION)
    clock.now += ALMOST_EXPIRED_S
    with monkeypatch.context() as patch:
        patch.setattr(version_cache, "_query_version", fail)
        for _ in range(3):
            assert (await version_cache.get(CHAMPION)).version == 1
            await asyncio.sleep(0.01)
        clock.now += CACHE_TTL_S - ALMOST_EXPIRED_S
        with pytest.raises(Unavailable):
            await version_cache.get(CHAMPION)
    assert (await version_cache.get(CHAMPION)).version == 1


async def test_full_cache_refreshes_entries_one_by_one(
    version_cache: VersionCache, clock: Clock, gate: QueryGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ENTRIES", 2)
    await version_cache.get("shapes@1")
    await version_cache.get(CHAMPION)
    clock.now += ALMOST_EXPIRED_S
    async with asyncio.timeout(60):
        await version_cache.get("shapes@1")
        while version_cache._refreshes:  # the refreshed entry replaces the current one
            await asyncio.sleep(0.001)
            await version_cache.get("shapes@1")
    gate.open.clear()
    task = asyncio.create_task(version_cache.get(CHAMPION))
    await gate.wait_until(1)
    was_cached = task.done()
    gate.open.set()
    assert (await task).version == 1
    assert was_cached


async def test_invalidated_name_is_queried_again_despite_a_running_query(
    state: State, version_cache: VersionCache, clock: Clock, gate: QueryGate
) -> None:
    await version_cache.get(CHAMPION)
    clock.now += ALMOST_EXPIRED_S
    gate.open.clear()
    await version_cache.get(CHAMPION)
    await gate.wait_until(1)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    version_cache.invalidate("shapes")
    gate.open.set()
    assert (await version_cache.get(CHAMPION)).version == 2


async def test_the_default_variant_is_found_when_it_is_made_and_until_it_is_deleted(
    state: State, version_cache: VersionCache, clock: Clock
) -> None:
    cache = VersionCache(state.sessions, DefaultVariants(is_enabled=True), clock=clock)
    network = await cache.get("shapes@2")
    assert (network.variant, network.fallback) == (None, None)
    with transaction(state.sessions) as session:
        session.add(bundles.build_variant_row("shapes", 2, "onnx", chosen_by="auto"))
        session.add(bundles.build_variant_row("shapes", 2, "int8", max_drop=1.0))
    clock.now += 1
    variant = await cache.get("shapes@2")
    assert (variant.variant, variant.fallback) == ("onnx", network)
    assert (await cache.get("shapes@2", "none")) == network
    named = await cache.get("shapes@2", "onnx")
    assert (named.variant, named.fallback) == ("onnx", None)
    assert (await cache.get(CHAMPION)).variant is None  # another version
    assert (await version_cache.get("shapes@2")).variant is None  # without the setting
    with transaction(state.sessions) as session:
        VariantRepo(session).delete("shapes", 2, "onnx")
    clock.now += 1
    assert (await cache.get("shapes@2")) == network
