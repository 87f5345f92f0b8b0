"""Messages that the inference process handles on a connection."""

import asyncio

import numpy as np
import pytest

from app.inference.protocol import Error, FrameDecoder, Message, Ping, Pong, Predict, decode_server_message, encode
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
