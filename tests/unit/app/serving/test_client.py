"""What is said to the process with the networks, and when: a busy network is told of several at once."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio

from app.inference.protocol import (
    BatchResult,
    Cancel,
    FrameDecoder,
    Predict,
    PredictResult,
    Question,
    decode_request,
    encode,
)
from app.inference.shared_memory import SharedMemoryPool
from app.serving import client as module
from app.serving.client import InferenceClient
from app.serving.types import Outcome
from core.errors import Unavailable

IMAGE = [np.zeros((2, 2, 1), np.uint8)]
SCORES = np.array([1.0, 2.0], np.float32)


class Wire(asyncio.Transport):
    """Keeps what is written, one entry a write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[Question]] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.writes.append([decode_request(frame) for frame in FrameDecoder().feed(data)])


@pytest_asyncio.fixture
async def wire() -> AsyncIterator[tuple[InferenceClient, Wire]]:
    arena, wire = SharedMemoryPool(2**16), Wire()
    link = InferenceClient(arena, lambda: None)
    link.connection_made(wire)
    yield link, wire
    link.welcome.cancel()
    arena.close()


async def ask(link: InferenceClient, network: int = 1) -> "asyncio.Task[list[Outcome]]":
    asking = asyncio.create_task(link.predict(network, IMAGE, 0.0, None))
    await asyncio.sleep(0)
    return asking


def answer(link: InferenceClient, *ids: int, network: int = 1) -> None:
    scored = [PredictResult(id, SCORES.tobytes(), [], 0.0) for id in ids]
    link.data_received(encode(BatchResult(network, len(ids), 0, 0, 0.1, scored)))


async def test_an_idle_network_is_told_at_once(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    await ask(link)
    await ask(link, network=2)
    assert [[type(one) for one in write] for write in written.writes] == [[Predict], [Predict]]


async def test_a_network_is_told_of_the_level(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    asked = [asyncio.create_task(link.predict(number, IMAGE, 0.0, None, number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    assert len(asked) == len(written.writes)
    assert [one.level for write in written.writes for one in write if isinstance(one, Predict)] == [1, 2, 3]


async def test_a_busy_network_is_told_of_all_when_it_has_answered(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    asked = [await ask(link) for _ in range(3)]
    assert [len(write) for write in written.writes] == [1]
    answer(link, 1)
    assert [len(write) for write in written.writes] == [1, 2]
    answer(link, 2, 3)
    outcomes = [await one for one in asked]
    np.testing.assert_array_equal(np.stack(outcomes), np.stack([[SCORES]] * 3))  # type: ignore[arg-type]  # no error
    await ask(link)
    assert [len(write) for write in written.writes] == [1, 2, 1]


async def test_nobody_is_held_for_long(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    for _ in range(3):
        await ask(link)
    await asyncio.sleep(5 * module.HOLD_S)
    assert [len(write) for write in written.writes] == [1, 2]


async def test_whoever_leaves_is_told_of_after_it_was_asked_for(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    await ask(link)
    leaving = await ask(link)
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert [type(one) for write in written.writes for one in write] == [Predict, Predict, Cancel]


async def test_whoever_is_held_when_the_process_ends_hears_of_it(wire: tuple[InferenceClient, Wire]) -> None:
    link, written = wire
    asked = [await ask(link) for _ in range(2)]
    link.connection_lost(None)
    assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*asked, return_exceptions=True))
    await asyncio.sleep(5 * module.HOLD_S)
    assert [len(write) for write in written.writes] == [1]
