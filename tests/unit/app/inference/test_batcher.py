"""Dynamic batching: the samples of a batch, the limits of the queue, and samples on which the network fails."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.batcher import DynamicBatcher
from app.inference.priority_queue import AGING_INTERVAL
from app.inference.types import BatcherClosed, Pixels
from core.errors import DeadlineExceeded, Overloaded, PredictionFailed
from tests.support.batchers import open_batchers

POISON, NOT_FINITE = 255, 254


class Network:
    """Returns the first pixel of each image. It can be blocked, and it records its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.unblocked = threading.Event()
        self.unblocked.set()
        self.has_started = threading.Event()

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        pixels = [int(image[0, 0, 0]) for image in images]
        self.has_started.set()
        assert self.unblocked.wait(30)
        self.batches.append(pixels)
        if POISON in pixels:
            raise RuntimeError("poison")
        return np.array([[np.nan if pixel == NOT_FINITE else pixel, 1] for pixel in pixels], np.float32)

    async def block(self, batcher: DynamicBatcher) -> "asyncio.Task[object]":
        """Keep the network busy with one image until `unblocked` is set."""
        self.unblocked.clear()
        busy: asyncio.Task[object] = asyncio.create_task(batcher.submit([make_image(0)]))
        await asyncio.to_thread(self.has_started.wait, 30)
        return busy


def make_image(first: int) -> Pixels:
    return np.full((2, 2, 1), first, np.uint8)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def create_batcher(network: Network) -> AsyncIterator[Callable[..., DynamicBatcher]]:
    async with open_batchers(network, network.unblocked.set) as create:
        yield create


async def test_a_request_to_an_idle_model_is_computed_at_once(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    for first in range(5):
        (scores,) = await batcher.submit([make_image(first)])
        assert list(scores) == [first, 1]  # type: ignore[arg-type]  # no error here
    assert network.batches == [[0], [1], [2], [3], [4]]


async def test_requests_form_a_batch_while_the_network_is_busy(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher(max_batch_size=4)
    busy = await network.block(batcher)
    waiting = [asyncio.create_task(batcher.submit([make_image(first)])) for first in range(1, 7)]
    await asyncio.sleep(0)
    network.unblocked.set()
    outcomes = await asyncio.gather(*waiting)
    await busy
    assert [int(one[0][0]) for one in outcomes] == [1, 2, 3, 4, 5, 6]  # type: ignore[index]  # no error here
    assert network.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_a_large_request_returns_its_outcomes_in_order(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    outcomes = await create_batcher(max_batch_size=4).submit([make_image(first) for first in range(10)])
    assert [int(one[0]) for one in outcomes] == list(range(10))  # type: ignore[index]  # no error here
    assert sorted(first for batch in network.batches for first in batch) == list(range(10))


async def test_an_empty_request_returns_an_empty_list(create_batcher: Callable[..., DynamicBatcher]) -> None:
    assert await create_batcher().submit([]) == []


async def test_one_failing_image_in_a_batch_fails_alone(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    busy = await network.block(batcher)
    firsts = [POISON if n == 17 else n for n in range(1, 32)]
    waiting = [asyncio.create_task(batcher.submit([make_image(first)])) for first in firsts]
    await asyncio.sleep(0)
    network.unblocked.set()
    outcomes = [outcome for (outcome,) in await asyncio.gather(*waiting)]
    await busy
    assert len(network.batches[1]) == 31
    assert [first for first, one in zip(firsts, outcomes, strict=True) if isinstance(one, PredictionFailed)] == [POISON]
    assert all(int(one[0]) == first for first, one in zip(firsts, outcomes, strict=True) if first != POISON)  # type: ignore[index]


async def test_scores_that_are_not_finite_are_an_error(create_batcher: Callable[..., DynamicBatcher]) -> None:
    valid, invalid = await create_batcher().submit([make_image(1), make_image(NOT_FINITE)])
    assert not isinstance(valid, PredictionFailed)
    assert isinstance(invalid, PredictionFailed)
    assert "finite" in invalid.detail


async def test_a_full_queue_rejects_requests_with_retry_after(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher(max_waiting=3)
    busy = await network.block(batcher)
    waiting = [asyncio.create_task(batcher.submit([make_image(1)])) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await batcher.submit([make_image(2)])
    assert caught.value.extra["retry_after_s"] >= 1
    with pytest.raises(Overloaded):
        await batcher.submit([make_image(2)])
    network.unblocked.set()
    await asyncio.gather(busy, *waiting)
    assert len(await batcher.submit([make_image(3)])) == 1
    assert 2 not in [first for batch in network.batches for first in batch]


async def test_a_request_larger_than_the_queue_is_rejected_whole(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    with pytest.raises(Overloaded):
        await create_batcher(max_waiting=3).submit([make_image(n) for n in range(4)])
    assert network.batches == []


async def test_a_cancelled_request_costs_no_computation(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    busy = await network.block(batcher)
    cancelled_task = asyncio.create_task(batcher.submit([make_image(66), make_image(66)]))
    other_task = asyncio.create_task(batcher.submit([make_image(1)]))
    await asyncio.sleep(0)
    cancelled_task.cancel()
    await asyncio.sleep(0)
    network.unblocked.set()
    await asyncio.gather(busy, other_task)
    assert network.batches == [[0], [1]]
    assert cancelled_task.cancelled()


async def test_a_batch_without_waiting_callers_costs_no_computation(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    busy = await network.block(batcher)
    cancelled_task = asyncio.create_task(batcher.submit([make_image(66)]))
    await asyncio.sleep(0)
    cancelled_task.cancel()
    await asyncio.sleep(0)
    network.unblocked.set()
    await busy
    await batcher.submit([make_image(5)])
    assert network.batches == [[0], [5]]


async def test_close_completes_waiting_requests_and_rejects_new_ones(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    busy = await network.block(batcher)
    waiting = asyncio.create_task(batcher.submit([make_image(7)]))
    await asyncio.sleep(0)
    batcher.close()
    with pytest.raises(BatcherClosed):
        await batcher.submit([make_image(8)])
    network.unblocked.set()
    await asyncio.gather(busy, waiting)
    await batcher.join()
    assert network.batches == [[0], [7]]


async def test_a_slow_model_does_not_block_another(
    create_batcher: Callable[..., DynamicBatcher], network: Network
) -> None:
    busy = await network.block(create_batcher())
    other = DynamicBatcher(Network(), model="quick", max_batch_size=4, max_waiting=4)
    assert len(await other.submit([make_image(1)])) == 1
    assert not busy.done()
    other.close()
    await other.join()
    network.unblocked.set()
    await busy


async def collect_batches(network: Network, batcher: DynamicBatcher, *requests: tuple[int, int]) -> list[list[int]]:
    """Return the batches of requests, (priority, first pixel), that wait for a busy network."""
    busy = await network.block(batcher)
    waiting = []
    for priority, first in requests:
        waiting.append(asyncio.create_task(batcher.submit([make_image(first)], priority=priority)))
        await asyncio.sleep(0)
    network.unblocked.set()
    outcomes = await asyncio.gather(*waiting)
    await busy
    assert [int(one[0][0]) for one in outcomes] == [first for _, first in requests]  # type: ignore[index]  # no error here
    return network.batches[1:]


async def test_higher_priorities_are_computed_first(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    requests = [(3, 1), (2, 2), (1, 3), (2, 4), (3, 5), (1, 6), (2, 7)]
    batches = await collect_batches(network, create_batcher(max_batch_size=2), *requests)
    assert batches == [[3, 6], [2, 4], [7, 1], [5]]


async def test_requests_of_low_priority_do_not_starve(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    urgent = [(1, 10 + number) for number in range(20)]
    batches = await collect_batches(network, create_batcher(max_batch_size=1), (3, 1), (2, 2), *urgent)
    assert batches[AGING_INTERVAL - 1] == [1]
    assert batches[2 * AGING_INTERVAL - 1] == [2]
    assert [one for (one,) in batches if one >= 10] == [first for _, first in urgent]


async def test_all_priorities_share_the_limit_of_the_queue(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher(max_waiting=3)
    busy = await network.block(batcher)
    waiting = [asyncio.create_task(batcher.submit([make_image(priority)], priority=priority)) for priority in (1, 2, 3)]
    await asyncio.sleep(0)
    assert batcher.num_waiting == 3
    with pytest.raises(Overloaded):
        await batcher.submit([make_image(4)], priority=1)
    network.unblocked.set()
    await asyncio.gather(busy, *waiting)
    assert batcher.num_waiting == 0


async def test_a_request_after_its_deadline_costs_no_computation(
    network: Network, create_batcher: Callable[..., DynamicBatcher]
) -> None:
    batcher = create_batcher()
    busy = await network.block(batcher)
    late_task = asyncio.create_task(batcher.submit([make_image(66), make_image(66)], time.monotonic() + 1e-6))
    other_task = asyncio.create_task(batcher.submit([make_image(1)], time.monotonic() + 1000))
    await asyncio.sleep(0.001)
    network.unblocked.set()
    await asyncio.gather(busy, other_task)
    with pytest.raises(DeadlineExceeded):
        await late_task
    assert network.batches == [[0], [1]]
