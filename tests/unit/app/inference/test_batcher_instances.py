"""Several instances of one model: how they share the queue and the device."""

import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.batcher import MIN_SAMPLES_PER_INSTANCE, DynamicBatcher
from app.inference.types import Pixels
from core.process_tuning import PREDICT_NICENESS
from tests.support.batchers import open_batchers
from tests.support.processes import wait_for

IMAGE = np.zeros((2, 2, 1), np.uint8)


class Network:
    """Computes a batch when it is released, and records the sizes of batches and their shares of the device."""

    def __init__(self) -> None:
        self.computing: list[int] = []
        self.sizes: list[int] = []
        self.shares: dict[int, list[int]] = {}
        self.niceness: set[int] = set()
        self._released = threading.Semaphore(0)
        self._mutex = threading.Lock()
        self._thread_state = threading.local()

    def set_num_sharing(self, num_sharing: int) -> None:
        self._thread_state.num_sharing = num_sharing

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        size = len(images)
        with self._mutex:
            self.computing.append(size)
            self.sizes.append(size)
            self.shares.setdefault(size, []).append(self._thread_state.num_sharing)
            self.niceness.add(os.getpriority(os.PRIO_PROCESS, 0))
        assert self._released.acquire(timeout=30)
        with self._mutex:
            self.computing.remove(size)
        return np.ones((size, 1), np.float32)

    def release(self, num_batches: int = 1000) -> None:
        self._released.release(num_batches)

    async def wait_for_batches(self, *sizes: int) -> None:
        await asyncio.to_thread(wait_for, lambda: sorted(self.computing) == sorted(sizes), f"batches of {sizes}")


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def create_batcher(network: Network) -> AsyncIterator[Callable[..., DynamicBatcher]]:
    options = {"num_instances": 2, "max_waiting": 256, "on_share": network.set_num_sharing}
    async with open_batchers(network, network.release, **options) as create:
        yield create


def start_request(batcher: DynamicBatcher, num_images: int) -> "asyncio.Task[object]":
    return asyncio.create_task(batcher.submit([IMAGE] * num_images))


async def test_instances_share_many_samples_evenly(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    request = start_request(create_batcher(), 4 * MIN_SAMPLES_PER_INSTANCE)
    await network.wait_for_batches(2 * MIN_SAMPLES_PER_INSTANCE, 2 * MIN_SAMPLES_PER_INSTANCE)
    network.release()
    await request
    assert network.shares == {2 * MIN_SAMPLES_PER_INSTANCE: [2, 2]}


async def test_few_samples_form_one_batch_on_the_whole_device(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    first = start_request(batcher, 1)
    await network.wait_for_batches(1)
    second = start_request(batcher, 2 * MIN_SAMPLES_PER_INSTANCE - 2)
    await asyncio.sleep(0.05)
    assert network.computing == [1]
    network.release()
    await asyncio.gather(first, second)
    assert network.sizes == [1, 2 * MIN_SAMPLES_PER_INSTANCE - 2]
    assert {share for shares in network.shares.values() for share in shares} == {1}


async def test_many_samples_do_not_wait_for_a_running_batch(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    first = start_request(batcher, 1)
    await network.wait_for_batches(1)
    many = start_request(batcher, 2 * MIN_SAMPLES_PER_INSTANCE)
    await network.wait_for_batches(1, MIN_SAMPLES_PER_INSTANCE + 1)
    network.release()
    await asyncio.gather(first, many)
    assert network.sizes == [1, MIN_SAMPLES_PER_INSTANCE + 1, MIN_SAMPLES_PER_INSTANCE - 1]


async def test_no_batch_exceeds_the_maximum_size(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    request = start_request(create_batcher(max_batch_size=MIN_SAMPLES_PER_INSTANCE), 6 * MIN_SAMPLES_PER_INSTANCE)
    network.release()
    await request
    assert network.sizes == [MIN_SAMPLES_PER_INSTANCE] * 6


async def test_close_completes_the_requests_of_every_instance(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher(num_instances=3)
    request = [start_request(batcher, 1) for _ in range(100)]
    await asyncio.sleep(0)
    batcher.close()
    network.release()
    assert len(await asyncio.gather(*request)) == 100
    await batcher.join()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has priorities per thread")
async def test_only_computing_threads_have_a_lower_priority(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    network.release()
    await start_request(create_batcher(), 4 * MIN_SAMPLES_PER_INSTANCE)
    assert network.niceness == {max(before, PREDICT_NICENESS)}
    assert os.getpriority(os.PRIO_PROCESS, 0) == before
