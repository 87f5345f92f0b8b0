"""Responses with server-sent events: pings, slow clients, disconnections and the end of the server."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from starlette.types import Message

from app.http import event_response
from app.http.event_response import (
    MAX_ENCODED,
    PING,
    EventConnections,
    EventStreamResponse,
    SendTimeoutError,
    format_message,
)
from core.events import Event, EventType


def build_event(seq: int) -> Event:
    return Event("a", seq=seq, type=EventType.LOG, at=datetime.now(UTC), payload={})


class QuietStream:
    """A stream of one event that then waits until it is evicted."""

    def __init__(self) -> None:
        self.is_closed = False
        self._end = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[Event]:
        if not self._end.is_set():
            yield build_event(1)
        await self._end.wait()

    def evict(self) -> None:
        self._end.set()

    def close(self) -> None:
        self.is_closed = True


class Client:
    """Records what a response sends. With `is_stuck`, its buffers are full after the head."""

    def __init__(self, *, is_stuck: bool = False) -> None:
        self.messages: list[Message] = []
        self.left = asyncio.Event()
        self._is_stuck = is_stuck

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._is_stuck and message["type"] == "http.response.body":
            await asyncio.Event().wait()
        self.messages.append(message)

    async def wait_for(self, text: bytes) -> None:
        async with asyncio.timeout(20):
            while text not in self.body:
                await asyncio.sleep(0.001)


@pytest.fixture(autouse=True)
def check_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_response, "CHECK_S", 0.001)


def start(stream: QuietStream, client: Client, connections: EventConnections) -> "asyncio.Task[None]":
    response = EventStreamResponse(stream, lambda event: b"event %d;" % event.seq, connections, first=b"first;")
    return asyncio.create_task(response({"type": "http", "method": "GET", "headers": []}, client.receive, client.send))


async def test_events_follow_the_first_bytes() -> None:
    stream, client = QuietStream(), Client()
    response = start(stream, client, EventConnections())
    await client.wait_for(b"event 1;")
    stream.evict()
    await asyncio.wait_for(response, 20)
    assert client.body == b"first;event 1;"
    headers = dict(client.messages[0]["headers"])
    assert headers[b"content-type"].startswith(b"text/event-stream")
    assert headers[b"cache-control"] == b"no-store"
    assert b"content-length" not in headers
    assert client.messages[-1] == {"type": "http.response.body", "body": b"", "more_body": False}
    assert stream.is_closed


async def test_a_client_that_does_not_read_loses_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_response, "SEND_TIMEOUT_S", 0.01)
    stream, connections = QuietStream(), EventConnections()
    response = start(stream, Client(is_stuck=True), connections)
    await asyncio.wait([response], timeout=20)
    assert isinstance(response.exception(), SendTimeoutError)
    assert stream.is_closed
    assert connections._watcher is None


async def test_a_silent_stream_gets_pings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_response, "PING_S", 0.01)
    monkeypatch.setattr(event_response, "PING_JITTER_S", 0.0)
    stream, client = QuietStream(), Client()
    response = start(stream, client, EventConnections())
    await client.wait_for(PING + PING)
    stream.evict()
    await asyncio.wait_for(response, 20)
    assert client.body.startswith(b"first;event 1;" + PING)


async def test_a_stream_ends_when_its_client_leaves() -> None:
    stream, client, connections = QuietStream(), Client(), EventConnections()
    response = start(stream, client, connections)
    await client.wait_for(b"event 1;")
    client.left.set()
    await asyncio.wait_for(response, 20)
    assert stream.is_closed
    assert not connections._open
    assert connections._watcher is None


async def test_a_stream_is_closed_if_its_client_leaves_before_the_first_event() -> None:
    stream, client = QuietStream(), Client()
    client.left.set()
    stream.evict()
    await asyncio.wait_for(start(stream, client, EventConnections()), 20)
    assert stream.is_closed


async def test_a_cancelled_request_closes_its_stream() -> None:
    stream, client = QuietStream(), Client()
    response = start(stream, client, EventConnections())
    await client.wait_for(b"event 1;")
    response.cancel()
    with pytest.raises(asyncio.CancelledError):
        await response
    assert stream.is_closed


class Server:
    """Handles signals as uvicorn's server does."""

    should_exit = False

    def handle_exit(self, *_: object) -> None:
        self.should_exit = True


@contextmanager
def handle_signals() -> Iterator[Server]:
    server = Server()
    before = signal.signal(signal.SIGTERM, server.handle_exit)
    try:
        yield server
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_streams_end_when_the_server_stops() -> None:
    stream, client = QuietStream(), Client()
    with handle_signals() as server:
        response = start(stream, client, EventConnections())
        await client.wait_for(b"event 1;")
        await asyncio.sleep(0.01)
        assert not response.done()
        server.should_exit = True
        await asyncio.wait_for(response, 20)
    assert client.messages[-1]["more_body"] is False


def test_an_event_is_encoded_once_for_all_streams() -> None:
    connections, encoded = EventConnections(), list[int]()

    def encode(event: Event) -> bytes:
        encoded.append(event.seq)
        return b"%d" % event.seq

    for seq in (1, 1, 2, 1):
        assert connections.encode_once(build_event(seq), encode) == b"%d" % seq
    assert encoded == [1, 2]
    for seq in range(3 * MAX_ENCODED):
        connections.encode_once(build_event(seq), encode)
        assert len(connections._encoded) <= MAX_ENCODED


def test_messages_have_an_id_and_maybe_an_event() -> None:
    assert format_message('{"a": 1}', event="log", event_id="7") == b'id: 7\r\nevent: log\r\ndata: {"a": 1}\r\n\r\n'
    assert format_message(event_id="x") == b"id: x\r\n\r\n"
