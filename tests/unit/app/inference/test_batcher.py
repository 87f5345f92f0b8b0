"""Batches: what goes into one, who is refused, and what one failing picture may cost."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from app.inference.batcher import Batcher
from app.inference.priority_queue import EVERY
from app.inference.types import BatcherClosed, Pixels
from core.errors import DeadlineExceeded, Overloaded, PredictionFailed
from tests.support.batchers import batchers

POISON, NOT_FINITE = 255, 254


class Network:
    """Answers each picture with its first pixel; it can be held back, and it remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go = threading.Event()
        self.may_go.set()
        self.has_begun = threading.Event()

    def __call__(self, images: Sequence[Pixels]) -> NDArray[np.float32]:
        firsts = [int(picture[0, 0, 0]) for picture in images]
        self.has_begun.set()
        assert self.may_go.wait(30)
        self.batches.append(firsts)
        if POISON in firsts:
            raise RuntimeError("poison")
        return np.array([[np.nan if first == NOT_FINITE else first, 1] for first in firsts], np.float32)

    async def hold(self, batcher: Batcher) -> "asyncio.Task[object]":
        """Keep the network busy with one picture until `may_go`."""
        self.may_go.clear()
        busy: asyncio.Task[object] = asyncio.create_task(batcher.submit([picture(0)]))
        await asyncio.to_thread(self.has_begun.wait, 30)
        return busy


def picture(first: int) -> Pixels:
    return np.full((2, 2, 1), first, np.uint8)


@pytest.fixture
def network() -> Network:
    return Network()


@pytest.fixture
async def make(network: Network) -> AsyncIterator[Callable[..., Batcher]]:
    async with batchers(network, network.may_go.set) as build:
        yield build


async def test_lone_requests_are_computed_one_by_one_in_their_order(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    for first in range(5):
        (scores,) = await batcher.submit([picture(first)])
        assert list(scores) == [first, 1]  # type: ignore[arg-type]  # no error here
    assert network.batches == [[0], [1], [2], [3], [4]]


async def test_requests_gather_while_the_network_is_busy(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make(max_batch_size=4)
    busy = await network.hold(batcher)
    waiting = [asyncio.create_task(batcher.submit([picture(first)])) for first in range(1, 7)]
    await asyncio.sleep(0)
    network.may_go.set()
    answers = await asyncio.gather(*waiting)
    await busy
    assert [int(one[0][0]) for one in answers] == [1, 2, 3, 4, 5, 6]  # type: ignore[index]  # no error here
    assert network.batches == [[0], [1, 2, 3, 4], [5, 6]]


async def test_one_request_of_many_images_is_answered_in_order(network: Network, make: Callable[..., Batcher]) -> None:
    answers = await make(max_batch_size=4).submit([picture(first) for first in range(10)])
    assert [int(one[0]) for one in answers] == list(range(10))  # type: ignore[index]  # no error here
    assert sorted(first for batch in network.batches for first in batch) == list(range(10))


async def test_nothing_is_answered_with_nothing(make: Callable[..., Batcher]) -> None:
    assert await make().submit([]) == []


async def test_one_poison_image_among_31_costs_only_its_own_place(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    busy = await network.hold(batcher)
    firsts = [POISON if n == 17 else n for n in range(1, 32)]
    waiting = [asyncio.create_task(batcher.submit([picture(first)])) for first in firsts]
    await asyncio.sleep(0)
    network.may_go.set()
    answers = [outcome for (outcome,) in await asyncio.gather(*waiting)]
    await busy
    assert len(network.batches[1]) == 31
    assert [first for first, one in zip(firsts, answers, strict=True) if isinstance(one, PredictionFailed)] == [POISON]
    assert all(int(one[0]) == first for first, one in zip(firsts, answers, strict=True) if first != POISON)  # type: ignore[index]


async def test_scores_that_are_not_finite_are_an_error(make: Callable[..., Batcher]) -> None:
    good, bad = await make().submit([picture(1), picture(NOT_FINITE)])
    assert not isinstance(good, PredictionFailed)
    assert isinstance(bad, PredictionFailed)
    assert "finite" in bad.detail


async def test_a_full_queue_refuses_at_once_and_says_when_to_come_back(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make(max_waiting=3)
    busy = await network.hold(batcher)
    waiting = [asyncio.create_task(batcher.submit([picture(1)])) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded) as caught:
        await batcher.submit([picture(2)])
    assert caught.value.facts["retry_after_s"] >= 1
    with pytest.raises(Overloaded):
        await batcher.submit([picture(2)])
    network.may_go.set()
    await asyncio.gather(busy, *waiting)
    assert len(await batcher.submit([picture(3)])) == 1
    assert 2 not in [first for batch in network.batches for first in batch]


async def test_more_images_than_have_room_are_refused_whole(network: Network, make: Callable[..., Batcher]) -> None:
    with pytest.raises(Overloaded):
        await make(max_waiting=3).submit([picture(n) for n in range(4)])
    assert network.batches == []


async def test_a_cancelled_request_is_never_computed(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make()
    busy = await network.hold(batcher)
    gone = asyncio.create_task(batcher.submit([picture(66), picture(66)]))
    stays = asyncio.create_task(batcher.submit([picture(1)]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    network.may_go.set()
    await asyncio.gather(busy, stays)
    assert network.batches == [[0], [1]]
    assert gone.cancelled()


async def test_a_batch_whose_callers_have_all_gone_is_not_computed(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    busy = await network.hold(batcher)
    gone = asyncio.create_task(batcher.submit([picture(66)]))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    network.may_go.set()
    await busy
    await batcher.submit([picture(5)])
    assert network.batches == [[0], [5]]


async def test_closing_answers_what_waits_and_takes_nothing_more(
    network: Network, make: Callable[..., Batcher]
) -> None:
    batcher = make()
    busy = await network.hold(batcher)
    waiting = asyncio.create_task(batcher.submit([picture(7)]))
    await asyncio.sleep(0)
    batcher.close()
    with pytest.raises(BatcherClosed):
        await batcher.submit([picture(8)])
    network.may_go.set()
    await asyncio.gather(busy, waiting)
    await batcher.join()
    assert network.batches == [[0], [7]]


async def test_a_slow_model_does_not_hold_up_another(make: Callable[..., Batcher], network: Network) -> None:
    busy = await network.hold(make())
    quick = Batcher(Network(), model="quick", max_batch_size=4, max_waiting=4)
    assert len(await quick.submit([picture(1)])) == 1
    assert not busy.done()
    quick.close()
    await quick.join()
    network.may_go.set()
    await busy


async def in_their_turn(network: Network, batcher: Batcher, *asked: tuple[int, int]) -> list[list[int]]:
    """The batches that come of pictures that wait behind a busy network, given as (level, first pixel)."""
    busy = await network.hold(batcher)
    waiting = []
    for level, first in asked:
        waiting.append(asyncio.create_task(batcher.submit([picture(first)], level=level)))
        await asyncio.sleep(0)
    network.may_go.set()
    answers = await asyncio.gather(*waiting)
    await busy
    assert [int(one[0][0]) for one in answers] == [first for _, first in asked]  # type: ignore[index]  # no error here
    return network.batches[1:]


async def test_lower_levels_go_first_and_equals_in_their_order(network: Network, make: Callable[..., Batcher]) -> None:
    asked = [(3, 1), (2, 2), (1, 3), (2, 4), (3, 5), (1, 6), (2, 7)]
    batches = await in_their_turn(network, make(max_batch_size=2), *asked)
    assert batches == [[3, 6], [2, 4], [7, 1], [5]]


async def test_whoever_came_first_on_a_later_level_is_not_passed_over_for_ever(
    network: Network, make: Callable[..., Batcher]
) -> None:
    urgent = [(1, 10 + number) for number in range(20)]
    batches = await in_their_turn(network, make(max_batch_size=1), (3, 1), (2, 2), *urgent)
    assert batches[EVERY - 1] == [1]
    assert batches[2 * EVERY - 1] == [2]
    assert [one for (one,) in batches if one >= 10] == [first for _, first in urgent]


async def test_all_levels_together_are_as_many_as_may_wait(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make(max_waiting=3)
    busy = await network.hold(batcher)
    waiting = [asyncio.create_task(batcher.submit([picture(level)], level=level)) for level in (1, 2, 3)]
    await asyncio.sleep(0)
    assert batcher.num_waiting == 3
    with pytest.raises(Overloaded):
        await batcher.submit([picture(4)], level=1)
    network.may_go.set()
    await asyncio.gather(busy, *waiting)
    assert batcher.num_waiting == 0


async def test_what_comes_too_late_is_never_computed(network: Network, make: Callable[..., Batcher]) -> None:
    batcher = make()
    busy = await network.hold(batcher)
    late = asyncio.create_task(batcher.submit([picture(66), picture(66)], time.monotonic() + 1e-6))
    stays = asyncio.create_task(batcher.submit([picture(1)], time.monotonic() + 1000))
    await asyncio.sleep(0.001)
    network.may_go.set()
    await asyncio.gather(busy, stays)
    with pytest.raises(DeadlineExceeded):
        await late
    assert network.batches == [[0], [1]]
