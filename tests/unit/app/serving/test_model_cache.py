"""The networks in memory: one load for all who ask, a bound, and failures that are remembered for a while."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import numpy as np
import pytest

from app.inference.batcher import Batcher
from app.inference.types import BatcherClosed
from app.serving.model_cache import REMEMBER_FAILURE_S, ModelCache
from app.serving.types import BundleRef
from core.errors import CorruptFile, NotReady, Overloaded, PredictionFailed
from tests.support.fakes import Clock
from tests.support.networks import LocalNetwork

IMAGE = np.zeros((1, 1, 1), np.uint8)


class Store:
    """Opens anything, slowly if held back, unless told to fail."""

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.num_bytes: dict[str, int] = {}
        self.failure: Exception | None = None
        self.may_go = threading.Event()
        self.may_go.set()

    def __call__(self, ref: BundleRef) -> LocalNetwork:
        self.opened.append(ref.key)
        assert self.may_go.wait(30)
        if self.failure is not None:
            raise self.failure
        batcher = Batcher(
            lambda pictures: np.zeros((len(pictures), 1), np.float32), model="m", max_batch_size=2, max_waiting=4
        )
        return LocalNetwork(batcher, batcher.close, self.num_bytes.get(ref.key, 1))


def ref(key: str) -> BundleRef:
    return BundleRef(key, (), key)


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
async def make(store: Store, clock: Clock) -> AsyncIterator[Callable[..., ModelCache]]:
    made: list[ModelCache] = []

    def build(max_loaded: int = 2, load_wait_s: float = 30, **options: Any) -> ModelCache:
        made.append(ModelCache(store, max_loaded=max_loaded, load_wait_s=load_wait_s, clock=clock, **options))
        return made[-1]

    yield build
    store.may_go.set()
    for pool in made:
        await pool.close()


async def test_all_who_ask_at_once_share_one_load(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make()
    batchers = await asyncio.gather(*(pool.get(ref("a")) for _ in range(20)))
    assert len(set(map(id, batchers))) == 1
    assert store.opened == ["a"]


async def test_the_least_recently_used_leaves_first(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make(max_loaded=2)
    first = await pool.get(ref("a"))
    second = await pool.get(ref("b"))
    await pool.get(ref("a"))
    await pool.get(ref("c"))
    assert pool.keys == ["a", "c"]
    assert await pool.get(ref("a")) is first
    with pytest.raises(BatcherClosed):
        await second.submit([IMAGE])
    assert store.opened == ["a", "b", "c"]


async def test_loading_does_not_hold_up_the_event_loop_or_others(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make()
    loaded = await pool.get(ref("a"))
    store.may_go.clear()
    slow = asyncio.create_task(pool.get(ref("b")))
    await asyncio.sleep(0)
    assert await pool.get(ref("a")) is loaded
    assert pool.peek(ref("b")) is None
    store.may_go.set()
    assert await slow is pool.peek(ref("b"))


async def test_a_load_that_takes_too_long_is_not_ready_and_goes_on(
    store: Store, make: Callable[..., ModelCache]
) -> None:
    pool = make(load_wait_s=0.01)
    store.may_go.clear()
    with pytest.raises(NotReady) as caught:
        await pool.get(ref("a"))
    assert caught.value.facts["retry_after_s"] >= 1
    store.may_go.set()
    while pool.peek(ref("a")) is None:
        await asyncio.sleep(0.01)
    await pool.get(ref("a"))
    assert store.opened == ["a"]


async def test_a_waiter_that_leaves_does_not_stop_the_load(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make()
    store.may_go.clear()
    leaves, stays = (asyncio.create_task(pool.get(ref("a"))) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    await asyncio.sleep(0)
    store.may_go.set()
    assert isinstance(await stays, LocalNetwork)


@pytest.mark.parametrize(
    ("failure", "told"),
    [
        (CorruptFile("a sha256 differs"), CorruptFile),
        (MemoryError(), PredictionFailed),
        (OSError("gone"), PredictionFailed),
    ],
)
async def test_a_failed_load_is_told_remembered_and_tried_again_later(
    failure: Exception, told: type[Exception], store: Store, clock: Clock, make: Callable[..., ModelCache]
) -> None:
    pool = make()
    store.failure = failure
    for _ in range(3):
        with pytest.raises(told):
            await pool.get(ref("a"))
    assert store.opened == ["a"]
    store.failure = None
    clock.now += REMEMBER_FAILURE_S
    assert isinstance(await pool.get(ref("a")), LocalNetwork)
    assert store.opened == ["a", "a"]


async def test_failures_take_no_place_of_a_network(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make(max_loaded=1)
    store.failure = OSError()
    with pytest.raises(PredictionFailed):
        await pool.get(ref("a"))
    store.failure = None
    assert isinstance(await pool.get(ref("b")), LocalNetwork)
    assert pool.keys == ["b"]


async def test_no_more_is_loaded_at_a_time_than_may_be_in_memory(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make(max_loaded=1)
    store.may_go.clear()
    slow = asyncio.create_task(pool.get(ref("a")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.get(ref("b"))
    store.may_go.set()
    await slow


async def test_a_bundle_that_is_dropped_is_loaded_again_when_asked_for(
    store: Store, make: Callable[..., ModelCache]
) -> None:
    pool = make()
    first = await pool.get(ref("a"))
    pool.drop(ref("a"))
    assert await pool.get(ref("a")) is not first
    assert store.opened == ["a", "a"]


async def test_a_bundle_dropped_while_it_loads_does_not_stay(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make()
    store.may_go.clear()
    slow = asyncio.create_task(pool.get(ref("a")))
    await asyncio.sleep(0)
    pool.drop(ref("a"))
    store.may_go.set()
    with pytest.raises(BatcherClosed):
        await (await slow).submit([IMAGE])
    assert pool.peek(ref("a")) is None


async def test_what_is_in_memory_is_bounded_by_its_bytes(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make(max_loaded=10, max_bytes=100)
    store.num_bytes = {"a": 40, "b": 40, "c": 40, "whale": 500}
    for key in ("a", "b", "a", "c"):
        await pool.get(ref(key))
    assert (pool.keys, pool.num_bytes) == (["a", "c"], 80)
    await pool.get(ref("whale"))
    assert pool.keys == ["whale"]  # alone it may be larger than allowed: else it could never answer


async def test_a_pinned_model_never_leaves(store: Store, make: Callable[..., ModelCache]) -> None:
    pool = make(max_loaded=2, max_bytes=100, pinned=["a"])
    store.num_bytes = {"a": 90, "b": 90, "c": 90}
    for key in ("a", "b", "c"):
        await pool.get(ref(key))
    assert pool.keys == ["a", "c"]
    only = make(max_loaded=1, pinned=["a"])
    await only.get(ref("a"))
    with pytest.raises(Overloaded):
        await only.get(ref("b"))
    assert only.keys == ["a"]
