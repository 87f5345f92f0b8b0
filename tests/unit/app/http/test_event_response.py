"""Responses with server-sent events: pings, slow clients, disconnections and the end of the server."""

import asyncio
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest
from starlette.types import Message
from structlog.testing import capture_logs

from app.http import event_response
from app.http.event_response import (
    MAX_ENCODED_EVENTS,
    MAX_ENCODED_JOBS,
    PING,
    EventConnection,
    EventConnections,
    EventStreamResponse,
    SendTimeoutError,
    format_message,
)
from core.events import Event, EventType


def build_event(seq: int, job_id: str = "a") -> Event:
    return Event(job_id, seq=seq, type=EventType.LOG, at=datetime.now(UTC), payload={})


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
    """Records what a response sends. Its buffers are full before the `stuck` body, such as b"first;"."""

    def __init__(self, *, stuck: bytes | None = None) -> None:
        self.messages: list[Message] = []
        self.left = asyncio.Event()
        self._stuck = stuck

    @property
    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.messages)

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if self._stuck is not None and message.get("body") == self._stuck:
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


@pytest.mark.parametrize("stuck", [b"first;", b"event 1;", b""])
async def test_a_client_that_does_not_read_loses_its_stream(stuck: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_response, "SEND_TIMEOUT_S", 0.01)
    stream, connections, client = QuietStream(), EventConnections(), Client(stuck=stuck)
    response = start(stream, client, connections)
    if not stuck:  # the last message
        await client.wait_for(b"event 1;")
        stream.evict()
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


def test_the_time_of_pings_is_chosen_once_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    draws: list[float] = []

    def draw(low: float, high: float) -> float:
        draws.append(high)
        return low

    async def check() -> None:
        connection = EventConnection(QuietStream(), Client().send)
        now = asyncio.get_running_loop().time()
        for second in range(15):
            connection.check(now + second, is_stopping=False)

    monkeypatch.setattr("random.uniform", draw)
    asyncio.run(check())
    assert draws == [event_response.PING_JITTER_S]


async def test_a_failing_check_of_a_stream_does_not_end_the_checks_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_response, "PING_S", 0.0)
    monkeypatch.setattr(event_response, "PING_JITTER_S", 0.0)
    connections = EventConnections()
    broken, healthy = Client(), Client()
    responses = [start(QuietStream(), broken, connections)]
    await broken.wait_for(b"event 1;")
    (connection,) = connections._open
    monkeypatch.setattr(connection, "check", None)
    responses.append(start(QuietStream(), healthy, connections))
    with capture_logs() as logs:
        await healthy.wait_for(PING + PING)
    assert {entry["event"] for entry in logs} == {"event_stream.check_failed"}
    for client, response in zip((broken, healthy), responses, strict=True):
        client.left.set()
        await asyncio.wait_for(response, 20)


async def test_a_ping_that_fails_does_not_count_as_a_slow_client() -> None:
    async def fail(_: Message) -> None:
        raise OSError("The connection is closed.")

    connection = EventConnection(QuietStream(), fail)
    connection.check(asyncio.get_running_loop().time() + 100, is_stopping=False)
    assert connection._ping is not None
    await connection._ping
    assert connection._num_sending == 0


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


async def test_streams_end_when_the_server_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stream, client = QuietStream(), Client()
    monkeypatch.setattr(event_response, "PING_S", 0.0)
    monkeypatch.setattr(event_response, "PING_JITTER_S", 0.0)
    with handle_signals() as server:
        response = start(stream, client, EventConnections())
        await client.wait_for(PING + PING)  # after several checks
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


def test_replays_do_not_displace_the_newest_events() -> None:
    connections, encoded = EventConnections(), list[tuple[str, int]]()

    def send(job_id: str, *numbers: int) -> None:
        for seq in numbers:
            connections.encode_once(build_event(seq, job_id), encode)

    def encode(event: Event) -> bytes:
        encoded.append((event.job_id, event.seq))
        return b""

    newest = range(1000, 1000 + MAX_ENCODED_EVENTS)
    send("live", *newest)
    send("live", *range(1, 100))
    send("other", *range(1, 1000))
    encoded.clear()
    send("live", *newest)
    assert encoded == []
    for number in range(2 * MAX_ENCODED_JOBS):
        send(str(number), *range(100))
    assert len(connections._encoded) == MAX_ENCODED_JOBS
    assert {len(events) for events in connections._encoded.values()} == {MAX_ENCODED_EVENTS}


def test_messages_have_an_id_and_maybe_an_event() -> None:
    assert format_message('{"a": 1}', event="log", event_id="7") == b'id: 7\r\nevent: log\r\ndata: {"a": 1}\r\n\r\n'
    assert format_message(event_id="x") == b"id: x\r\n\r\n"
