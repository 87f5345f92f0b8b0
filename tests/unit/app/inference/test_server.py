"""Messages that the inference process handles on a connection."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from app.inference.protocol import (
    ArchitectureInvalid,
    Error,
    FrameDecoder,
    Message,
    Ping,
    Pong,
    Predict,
    ValidateArchitecture,
    decode_server_message,
    encode,
)
from app.inference.server import Connection, InferenceServer, RemoteRequest
from app.inference.types import TargetedImage


class RecordingTransport(asyncio.Transport):
    """Records the messages that are sent, and whether the connection was aborted."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[Message] = []
        self.is_aborted = False

    def write(self, data: object) -> None:
        assert isinstance(data, bytes)
        self.messages += [decode_server_message(frame) for frame in FrameDecoder().feed(data)]

    def abort(self) -> None:
        self.is_aborted = True


def connect() -> tuple[Connection, RecordingTransport]:
    server, transport = InferenceServer("cpu", {"torch": "2"}), RecordingTransport()
    connection = Connection(server, np.arange(8, dtype=np.uint8), 7, lambda connection: None)
    connection.connection_made(transport)
    transport.messages.clear()
    return connection, transport


async def test_a_ping_gets_a_pong() -> None:
    connection, transport = connect()
    connection.data_received(encode(Ping(3)))
    assert transport.messages == [Pong(3)]


async def test_a_prediction_of_an_unloaded_model_is_not_ready() -> None:
    connection, transport = connect()
    connection.data_received(encode(Predict(4, 99, 0, 1, 0.0, None)))
    (message,) = transport.messages
    assert isinstance(message, Error)
    assert (message.id, message.slug) == (4, "not-ready")


async def test_an_unreadable_message_aborts_the_connection() -> None:
    connection, transport = connect()
    connection.data_received(b"\x01\x00\x00\x00\xc1")
    assert transport.is_aborted


@pytest.mark.parametrize("targets", [None, (4, -1)])
async def test_a_request_reads_its_samples_and_targets(targets: tuple[int, ...] | None) -> None:
    connection, _ = connect()
    request = RemoteRequest(connection, Predict(1, 2, 2, 2, 0.5, None, 1, targets), (1, 2, 1), "uint8")
    samples = [sample.image if isinstance(sample, TargetedImage) else sample for sample in request.samples]
    assert [sample.ravel().tolist() for sample in samples] == [[2, 3], [4, 5]]
    assert (request.priority, request.num_remaining, request.is_gone) == (1, 2, False)
    if targets is not None:
        assert [sample.target for sample in request.samples] == [4, -1]
    connection.connection_lost(None)
    assert request.is_gone


class RecordingValidation:
    """Stands in for a validation process: records requests and waits until it is released."""

    def __init__(self) -> None:
        self.threads = ThreadPoolExecutor(1)
        self.cpu_s = 0.0
        self.names: list[str] = []
        self.may_respond = threading.Event()

    def validate(self, request: ValidateArchitecture) -> ArchitectureInvalid:
        self.names.append(request.name)
        assert self.may_respond.wait(60)
        return ArchitectureInvalid(request.id, b"", "", "no")


async def wait_for(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


async def test_long_specs_do_not_delay_the_validation_of_short_ones() -> None:
    short, long = RecordingValidation(), RecordingValidation()
    server, transport = InferenceServer("cpu", {}, [short, long]), RecordingTransport()  # type: ignore[list-item]
    connection = Connection(server, np.arange(8, dtype=np.uint8), 7, lambda connection: None)
    connection.connection_made(transport)
    transport.messages.clear()
    connection.data_received(encode(ValidateArchitecture(1, "long", b" " * 4096, (1,), 1, ())))
    connection.data_received(encode(ValidateArchitecture(2, "short", b"{}", (1,), 1, ())))
    short.may_respond.set()
    await wait_for(lambda: transport.messages == [ArchitectureInvalid(2, b"", "", "no")])
    assert (long.names, short.names) == (["long"], ["short"])
    long.may_respond.set()
    await wait_for(lambda: len(transport.messages) == 2)


async def test_number_of_waiting_validations_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.inference.validation_queue.MAX_PENDING", 2)
    process = RecordingValidation()
    server, transport = InferenceServer("cpu", {}, [process]), RecordingTransport()  # type: ignore[list-item]
    connection = Connection(server, np.arange(8, dtype=np.uint8), 7, lambda connection: None)
    connection.connection_made(transport)
    transport.messages.clear()
    for id in range(3):
        connection.data_received(encode(ValidateArchitecture(id, "mlp", b"{}", (1,), 1, ())))
    (refusal,) = transport.messages
    assert isinstance(refusal, Error)
    assert (refusal.id, refusal.slug) == (2, "overloaded")
    process.may_respond.set()
    await wait_for(lambda: len(transport.messages) == 3)
    connection.data_received(encode(ValidateArchitecture(3, "mlp", b"{}", (1,), 1, ())))
    await wait_for(lambda: len(transport.messages) == 4)
    assert not isinstance(transport.messages[-1], Error)
