"""The connection to the inference process: messages to a busy model are sent together."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio

from app.inference.protocol import (
    BatchResult,
    Cancel,
    ClientMessage,
    FrameDecoder,
    Predict,
    PredictResult,
    decode_client_message,
    encode,
)
from app.inference.shared_memory import SharedMemoryPool
from app.serving import client as module
from app.serving.client import InferenceClient
from app.serving.types import Outcome
from core.errors import Unavailable

IMAGE = [np.zeros((2, 2, 1), np.uint8)]
SCORES = np.array([1.0, 2.0], np.float32)


class RecordingTransport(asyncio.Transport):
    """Records the messages of each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[list[ClientMessage]] = []

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.writes.append([decode_client_message(frame) for frame in FrameDecoder().feed(data)])


@pytest_asyncio.fixture
async def connection() -> AsyncIterator[tuple[InferenceClient, RecordingTransport]]:
    pool, transport = SharedMemoryPool(2**16), RecordingTransport()
    client = InferenceClient(pool, lambda: None)
    client.connection_made(transport)
    yield client, transport
    client.server_info.cancel()
    pool.close()


async def start_prediction(client: InferenceClient, model_id: int = 1) -> "asyncio.Task[list[Outcome]]":
    task = asyncio.create_task(client.predict(model_id, IMAGE, 0.0, None))
    await asyncio.sleep(0)
    return task


def send_results(client: InferenceClient, *ids: int, model_id: int = 1) -> None:
    results = [PredictResult(id, SCORES.tobytes(), [], 0.0) for id in ids]
    client.data_received(encode(BatchResult(model_id, len(ids), 0, 0, 0.1, results)))


async def test_a_request_to_an_idle_model_is_sent_at_once(
    connection: tuple[InferenceClient, RecordingTransport],
) -> None:
    client, transport = connection
    await start_prediction(client)
    await start_prediction(client, model_id=2)
    assert [[type(one) for one in write] for write in transport.writes] == [[Predict], [Predict]]


async def test_a_request_has_its_priority(connection: tuple[InferenceClient, RecordingTransport]) -> None:
    client, transport = connection
    tasks = [asyncio.create_task(client.predict(number, IMAGE, 0.0, None, number)) for number in (1, 2, 3)]
    await asyncio.sleep(0)
    assert len(tasks) == len(transport.writes)
    assert [one.priority for write in transport.writes for one in write if isinstance(one, Predict)] == [1, 2, 3]


async def test_requests_to_a_busy_model_are_sent_after_its_batch(
    connection: tuple[InferenceClient, RecordingTransport],
) -> None:
    client, transport = connection
    tasks = [await start_prediction(client) for _ in range(3)]
    assert [len(write) for write in transport.writes] == [1]
    send_results(client, 1)
    assert [len(write) for write in transport.writes] == [1, 2]
    send_results(client, 2, 3)
    outcomes = [await one for one in tasks]
    np.testing.assert_array_equal(np.stack(outcomes), np.stack([[SCORES]] * 3))  # type: ignore[arg-type]  # no error
    await start_prediction(client)
    assert [len(write) for write in transport.writes] == [1, 2, 1]


async def test_requests_are_not_buffered_for_long(connection: tuple[InferenceClient, RecordingTransport]) -> None:
    client, transport = connection
    for _ in range(3):
        await start_prediction(client)
    await asyncio.sleep(5 * module.MAX_BUFFER_S)
    assert [len(write) for write in transport.writes] == [1, 2]


async def test_a_cancellation_is_sent_after_its_request(connection: tuple[InferenceClient, RecordingTransport]) -> None:
    client, transport = connection
    await start_prediction(client)
    task = await start_prediction(client)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert [type(one) for write in transport.writes for one in write] == [Predict, Predict, Cancel]


async def test_buffered_requests_fail_when_the_connection_is_lost(
    connection: tuple[InferenceClient, RecordingTransport],
) -> None:
    client, transport = connection
    tasks = [await start_prediction(client) for _ in range(2)]
    client.connection_lost(None)
    assert all(isinstance(one, Unavailable) for one in await asyncio.gather(*tasks, return_exceptions=True))
    await asyncio.sleep(5 * module.MAX_BUFFER_S)
    assert [len(write) for write in transport.writes] == [1]


async def test_a_request_has_the_targets_of_its_images(connection: tuple[InferenceClient, RecordingTransport]) -> None:
    client, transport = connection
    task = asyncio.create_task(client.predict(1, IMAGE * 2, 0.0, None, targets=[4, -1]))
    await asyncio.sleep(0)
    ((message,),) = transport.writes
    assert isinstance(message, Predict)
    assert message.targets == (4, -1)
    send_results(client, message.id)
    await asyncio.gather(task, return_exceptions=True)
