"""The cache of loaded models: shared loads, eviction and cached errors."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from app.inference.batcher import DynamicBatcher
from app.inference.types import BatcherClosed
from app.serving.model_cache import FAILURE_TTL_S, ModelCache
from app.serving.types import BundleRef
from core.errors import CorruptFile, NotReady, Overloaded, PredictionFailed
from tests.support.fakes import Clock
from tests.support.local_backend import LocalModel

IMAGE = np.zeros((1, 1, 1), np.uint8)


class FakeLoader:
    """Loads any bundle. It can be blocked, or fail."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.num_bytes: dict[str, int] = {}
        self.failure: Exception | None = None
        self.unblocked = threading.Event()
        self.unblocked.set()

    def __call__(self, ref: BundleRef) -> LocalModel:
        self.keys.append(ref.key)
        assert self.unblocked.wait(30)
        if self.failure is not None:
            raise self.failure
        batcher = DynamicBatcher(
            lambda samples: np.zeros((len(samples), 1), np.float32), model="m", max_batch_size=2, max_waiting=4
        )
        return LocalModel(batcher, batcher.close, self.num_bytes.get(ref.key, 1))


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


async def test_a_failed_load_occupies_no_capacity(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=1)
    loader.failure = OSError()
    with pytest.raises(PredictionFailed):
        await cache.get(ref("a"))
    loader.failure = None
    assert isinstance(await cache.get(ref("b")), LocalModel)
    assert list_keys(cache) == ["b"]


async def test_concurrent_loads_are_limited(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=1)
    loader.unblocked.clear()
    slow = asyncio.create_task(cache.get(ref("a")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await cache.get(ref("b"))
    loader.unblocked.set()
    await slow


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


async def test_a_pinned_model_is_never_evicted(loader: FakeLoader, create_cache: Callable[..., ModelCache]) -> None:
    cache = create_cache(max_loaded=2, max_bytes=100, pinned=["a"])
    loader.num_bytes = {"a": 90, "b": 90, "c": 90}
    for key in ("a", "b", "c"):
        await cache.get(ref(key))
    assert list_keys(cache) == ["a", "c"]
    only = create_cache(max_loaded=1, pinned=["a"])
    await only.get(ref("a"))
    with pytest.raises(Overloaded):
        await only.get(ref("b"))
    assert list_keys(only) == ["a"]


async def test_each_output_of_a_bundle_is_a_separate_model(
    loader: FakeLoader, create_cache: Callable[..., ModelCache]
) -> None:
    cache = create_cache()
    scores = await cache.get(ref("a"))
    assert await cache.get(ref("a").with_output("embedding")) is not scores
    assert loader.keys == ["a", "a"]
    assert cache.keys == [("a", "scores"), ("a", "embedding")]
