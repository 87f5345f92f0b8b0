"""The cache of loaded models: shared loads, eviction and cached errors."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from app.inference.types import NUM_LOAD_THREADS, BatcherClosed
from app.serving import model_cache as module
from app.serving.model_cache import FAILURE_TTL_S, ModelCache
from app.serving.types import BundleRef
from core.errors import CorruptFile, NotReady, Overloaded, PredictionFailed
from tests.support.fakes import Clock
from tests.support.local_backend import FakeLoader, LocalModel

IMAGE = np.zeros((1, 1, 1), np.uint8)


class BusyBatcher:
    """A batcher with a waiting sample."""

    num_waiting = 1


def ref(key: str) -> BundleRef:
    return BundleRef(key, (), key)


def list_keys(cache: ModelCache) -> list[str]:
    return [key for key, _ in cache.keys]


@pytest.fixture
def loader() -> FakeLoader:
    return FakeLoader()


@pytest.fixture
async def create_cache(loader: FakeLoader, clock: Clock) -> AsyncIterator[Callable[..., ModelCache]]:
    caches: list[ModelCache] = []

    def build(max_loaded: int = 2, load_wait_s: float = 30, **options: Any) -> ModelCache:
        options = {"overhead_bytes": 0, **options}
        caches.append(ModelCache(loader, max_loaded=max_loaded, load_wait_s=load_wait_s, clock=clock, **options))
        return caches[-1]

    yield build
    loader.unblocked.set()
    for cache in caches:
        await cache.close()


async def test_concurrent_callers_share_one_load(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache()
    models = await asyncio.gather(*(cache.get(ref("a")) for _ in range(20)))
    assert len(set(map(id, models))) == 1
    assert loader.keys == ["a"]


async def test_the_least_recently_used_model_is_evicted(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=2)
    first = await cache.get(ref("a"))
    second = await cache.get(ref("b"))
    await cache.get(ref("a"))
    await cache.get(ref("c"))
    assert list_keys(cache) == ["a", "c"]
    assert await cache.get(ref("a")) is first
    with pytest.raises(BatcherClosed):
        await second.submit([IMAGE])
    assert loader.keys == ["a", "b", "c"]


async def test_loading_does_not_block_other_models(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache()
    loaded = await cache.get(ref("a"))
    loader.unblocked.clear()
    slow = asyncio.create_task(cache.get(ref("b")))
    await asyncio.sleep(0)
    assert await cache.get(ref("a")) is loaded
    assert cache.peek(ref("b")) is None
    loader.unblocked.set()
    assert await slow is cache.peek(ref("b"))


async def test_a_slow_load_is_not_ready_and_continues(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(load_wait_s=0.01)
    loader.unblocked.clear()
    with pytest.raises(NotReady) as caught:
        await cache.get(ref("a"))
    assert caught.value.extra["retry_after_s"] >= 1
    loader.unblocked.set()
    while cache.peek(ref("a")) is None:
        await asyncio.sleep(0.01)
    await cache.get(ref("a"))
    assert loader.keys == ["a"]


async def test_a_cancelled_caller_does_not_stop_the_load(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache()
    loader.unblocked.clear()
    cancelled, waiting = (asyncio.create_task(cache.get(ref("a"))) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    loader.unblocked.set()
    assert isinstance(await waiting, LocalModel)


@pytest.mark.parametrize(
    ("failure", "error"),
    [
        (CorruptFile("a sha256 differs"), CorruptFile),
        (MemoryError(), PredictionFailed),
        (OSError("gone"), PredictionFailed),
    ],
)
async def test_a_failed_load_is_cached_for_some_seconds(
    failure: Exception,
    error: type[Exception],
    loader: FakeLoader,
    clock: Clock,
    create_cache: Callable[..., ModelCache],
) -> None:
    cache = create_cache()
    loader.failure = failure
    for _ in range(3):
        with pytest.raises(error):
            await cache.get(ref("a"))
    assert loader.keys == ["a"]
    loader.failure = None
    clock.now += FAILURE_TTL_S
    assert isinstance(await cache.get(ref("a")), LocalModel)
    assert loader.keys == ["a", "a"]


async def test_a_failed_load_occupies_no_capacity(
    loader: FakeLoader, clock: Clock, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=2)
    await cache.get(ref("a"))
    loader.failure = OSError()
    with pytest.raises(PredictionFailed):
        await cache.get(ref("broken"))
    loader.failure = None
    await cache.get(ref("b"))
    assert list_keys(cache) == ["a", "broken", "b"]
    clock.now += FAILURE_TTL_S
    await cache.get(ref("c"))
    assert list_keys(cache) == ["b", "c"]  # the expired failure is removed too


async def test_loads_of_different_models_overlap(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=NUM_LOAD_THREADS)
    barrier = threading.Barrier(NUM_LOAD_THREADS, timeout=30)
    loader.on_load = lambda _: barrier.wait()  # raises an exception unless all loads run at the same time
    await asyncio.gather(*(cache.get(ref(str(number))) for number in range(NUM_LOAD_THREADS)))


async def test_loads_wait_for_a_place_instead_of_being_rejected(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=2)

    async def predict(key: str) -> int:
        while True:
            try:
                return len(await (await cache.get(ref(key))).submit([IMAGE]))
            except BatcherClosed:
                continue

    keys = [str(number) for number in range(40)]
    assert await asyncio.gather(*map(predict, keys)) == [1] * 40
    assert sorted(loader.keys) == sorted(keys)  # a model is not evicted before its callers have used it
    assert len(cache.keys) == 2


async def test_concurrent_loads_are_limited(
    loader: FakeLoader, create_cache: Callable[..., ModelCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_LOADING", 2)
    cache = create_cache(max_loaded=10)
    loader.unblocked.clear()
    slow = [asyncio.create_task(cache.get(ref(key))) for key in ("a", "b")]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cache.get(ref("c"))
    loader.unblocked.set()
    await asyncio.gather(*slow)
    assert isinstance(await cache.get(ref("c")), LocalModel)


async def test_an_unloaded_model_is_loaded_again(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache()
    first = await cache.get(ref("a"))
    cache.unload(ref("a"))
    assert await cache.get(ref("a")) is not first
    assert loader.keys == ["a", "a"]


async def test_a_model_that_is_unloaded_while_it_loads_is_closed(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache()
    loader.unblocked.clear()
    slow = asyncio.create_task(cache.get(ref("a")))
    await asyncio.sleep(0)
    cache.unload(ref("a"))
    loader.unblocked.set()
    with pytest.raises(BatcherClosed):
        await (await slow).submit([IMAGE])
    assert cache.peek(ref("a")) is None


async def test_the_memory_of_the_models_is_limited(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=10, max_bytes=100)
    loader.num_bytes = {"a": 40, "b": 40, "c": 40, "whale": 500}
    for key in ("a", "b", "a", "c"):
        await cache.get(ref(key))
    assert (list_keys(cache), cache.num_bytes) == (["a", "c"], 80)
    await cache.get(ref("whale"))
    assert list_keys(cache) == ["whale"]  # a single model may exceed the limit


async def test_room_is_made_before_a_model_is_loaded(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=10, max_bytes=100)
    loader.num_bytes = {"a": 60, "b": 60}
    await cache.get(ref("a"))
    seen: list[tuple[list[str], int]] = []
    loader.on_load = lambda _: seen.append((list_keys(cache), cache.num_bytes))
    await cache.get(ref("b"))
    assert seen == [(["b"], 60)]


async def test_each_model_counts_with_its_overhead(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=100, max_bytes=100, overhead_bytes=19)
    for number in range(8):
        await cache.get(ref(str(number)))
    assert (list_keys(cache), cache.num_bytes) == (["3", "4", "5", "6", "7"], 100)


async def test_idle_models_are_evicted_before_busy_ones(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=3)
    models = [await cache.get(ref(key)) for key in ("a", "b", "c")]
    models[0].__dict__["_batcher"] = BusyBatcher()
    await cache.get(ref("d"))
    assert list_keys(cache) == ["a", "c", "d"]
    await cache.get(ref("e"))
    assert list_keys(cache) == ["a", "d", "e"]


async def test_a_pinned_model_is_never_evicted(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=2, max_bytes=100)
    cache.pin("a", ref("a"))
    loader.num_bytes = {"a": 90, "b": 90, "c": 90}
    for key in ("a", "b", "c"):
        await cache.get(ref(key))
    assert list_keys(cache) == ["a", "c"]
    only = create_cache(max_loaded=1)
    only.pin("a", ref("a"))
    await only.get(ref("a"))
    with pytest.raises(Overloaded):
        await only.get(ref("b"))
    assert list_keys(only) == ["a"]


async def test_other_versions_variants_and_outputs_of_a_pinned_model_are_evicted(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache(max_loaded=2)
    versions = [BundleRef(f"v{number}", (), "digits", str(number)) for number in range(4)]
    cache.pin("digits", versions[0])
    for version in (*versions, versions[0].with_output("embedding")):
        await cache.get(version)
    assert cache.keys == [("v0", "scores"), ("v0", "embedding")]
    cache.pin("digits", versions[1])  # a new default version
    await cache.get(versions[1])
    await cache.get(versions[2])
    assert list_keys(cache) == ["v1", "v2"]
    cache.pin("digits", None)
    for version in versions[2:]:
        await cache.get(version)
    assert list_keys(cache) == ["v2", "v3"]


async def test_the_sizes_are_not_summed_again_for_each_evicted_model(
    loader: FakeLoader, create_cache: Callable[..., ModelCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = create_cache(max_loaded=1000, max_bytes=50)
    for number in range(50):
        await cache.get(ref(str(number)))
    compute: Callable[[ModelCache], int] = ModelCache.__dict__["num_bytes"].fget
    num_sums = 0

    def count_sums(cache: ModelCache) -> int:
        nonlocal num_sums
        num_sums += 1
        return compute(cache)

    monkeypatch.setattr(ModelCache, "num_bytes", property(count_sums))
    loader.num_bytes = {"whale": 50}
    await cache.get(ref("whale"))
    assert list_keys(cache) == ["whale"]
    assert num_sums <= 3  # once in each step of the load


async def test_each_output_of_a_bundle_is_a_separate_model(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache()
    scores = await cache.get(ref("a"))
    assert await cache.get(ref("a").with_output("embedding")) is not scores
    assert loader.keys == ["a", "a"]
    assert cache.keys == [("a", "scores"), ("a", "embedding")]
