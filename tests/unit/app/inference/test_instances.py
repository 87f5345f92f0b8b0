"""Several batches of one network at once: how they share what waits, and the device."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.batcher import MIN_IMAGES_PER_INSTANCE, Batcher
from app.inference.types import Pixels
from core.process_tuning import PREDICT
from tests.support.batchers import batchers
from tests.support.processes import wait_for

IMAGE = np.zeros((2, 2, 1), np.uint8)


class Network:
    """Computes when it is told to; it knows which batches are being computed, by size, and how each shares."""

    def __init__(self) -> None:
        self.computing: list[int] = []
        self.sizes: list[int] = []
        self.shares: dict[int, list[int]] = {}
        self.niceness: set[int] = set()
        self._may_go = threading.Semaphore(0)
        self._mutex = threading.Lock()
        self._of_thread = threading.local()

    def share(self, num_sharing: int) -> None:
        self._of_thread.num_sharing = num_sharing

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        size = len(images)
        with self._mutex:
            self.computing.append(size)
            self.sizes.append(size)
            self.shares.setdefault(size, []).append(self._of_thread.num_sharing)
            self.niceness.add(os.getpriority(os.PRIO_PROCESS, 0))
        assert self._may_go.acquire(timeout=30)
        with self._mutex:
            self.computing.remove(size)
        return np.ones((size, 1), np.float32)

    def go_on(self, num_batches: int = 1000) -> None:
        self._may_go.release(num_batches)

    async def computes(self, *sizes: int) -> None:
        await asyncio.to_thread(wait_for, lambda: sorted(self.computing) == sorted(sizes), f"batches of {sizes}")


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def make(network: Network) -> AsyncIterator[Callable[..., Batcher]]:
    async with batchers(network, network.go_on, num_lanes=2, max_waiting=256, share=network.share) as build:
        yield build


def asked(batcher: Batcher, num_images: int) -> "asyncio.Task[object]":
    return asyncio.create_task(batcher.submit([IMAGE] * num_images))


async def test_many_are_shared_evenly_and_so_is_the_device(network: Network, make: Callable[..., Batcher]) -> None:
    answered = asked(make(), 4 * MIN_IMAGES_PER_INSTANCE)
    await network.computes(2 * MIN_IMAGES_PER_INSTANCE, 2 * MIN_IMAGES_PER_INSTANCE)
    network.go_on()
    await answered
    assert network.shares == {2 * MIN_IMAGES_PER_INSTANCE: [2, 2]}


async def test_few_are_one_batch_that_has_the_device_for_itself(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make()
    first = asked(batcher, 1)
    await network.computes(1)
    second = asked(batcher, 2 * MIN_IMAGES_PER_INSTANCE - 2)
    await asyncio.sleep(0.05)
    assert network.computing == [1]
    network.go_on()
    await asyncio.gather(first, second)
    assert network.sizes == [1, 2 * MIN_IMAGES_PER_INSTANCE - 2]
    assert {share for shares in network.shares.values() for share in shares} == {1}


async def test_many_who_come_while_one_is_computed_do_not_wait_for_it(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    first = asked(batcher, 1)
    await network.computes(1)
    many = asked(batcher, 2 * MIN_IMAGES_PER_INSTANCE)
    await network.computes(1, MIN_IMAGES_PER_INSTANCE + 1)
    network.go_on()
    await asyncio.gather(first, many)
    assert network.sizes == [1, MIN_IMAGES_PER_INSTANCE + 1, MIN_IMAGES_PER_INSTANCE - 1]


async def test_no_batch_is_larger_than_allowed(network: Network, make: Callable[..., Batcher]) -> None:
    answered = asked(make(max_batch_size=MIN_IMAGES_PER_INSTANCE), 6 * MIN_IMAGES_PER_INSTANCE)
    network.go_on()
    await answered
    assert network.sizes == [MIN_IMAGES_PER_INSTANCE] * 6


async def test_closing_answers_what_waits_for_every_lane(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make(num_lanes=3)
    answered = [asked(batcher, 1) for _ in range(100)]
    await asyncio.sleep(0)
    batcher.close()
    network.go_on()
    assert len(await asyncio.gather(*answered)) == 100
    await batcher.join()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have priorities of their own on Linux only")
async def test_who_computes_gives_way_and_the_event_loop_does_not(
    network: Network, make: Callable[..., Batcher]
) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    network.go_on()
    await asked(make(), 4 * MIN_IMAGES_PER_INSTANCE)
    assert network.niceness == {max(before, PREDICT)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
