"""Sends the events of a stream as server-sent events. One task per process watches all connections.

A response of sse-starlette has five tasks and a timer per message. With thousands of streams, that is most of the cost.
"""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any, Generic, Protocol, TypeVar

import structlog
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from core.events import Event

log = structlog.get_logger(__name__)

PING_S = 15.0
PING_JITTER_S = 5.0
"""Pings of a connection are earlier by up to this time, so that the streams of a job do not all get them at once."""
SEND_TIMEOUT_S = 60.0
"""Closes the connection of a client that does not read."""
CHECK_S = 0.5
PING = b": ping\r\n\r\n"
MAX_ENCODED_JOBS = 64
MAX_ENCODED_EVENTS = 8
"""The number of the newest events of a job that are kept encoded. Streams that replay older ones encode them."""
MEDIA_TYPE = "text/event-stream"  # not an attribute of the class: FastAPI would document the body as a text
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no", "Connection": "keep-alive"}


Item = TypeVar("Item")
Sent = TypeVar("Sent", covariant=True)


class SendableStream(Protocol[Sent]):
    """A stream of events that ends after `evict`."""

    def __aiter__(self) -> AsyncIterator[Sent]: ...

    def evict(self) -> None: ...

    def close(self) -> None: ...


class SendTimeoutError(TimeoutError):
    """The client did not read its events in time."""


class EventConnection:
    """A client that receives the events of a stream. It must be created in the task that sends the events."""

    def __init__(self, stream: SendableStream[object], send: Send) -> None:
        self.has_timed_out = False
        self._stream = stream
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._ping: asyncio.Task[None] | None = None
        self._sent_at = self._loop.time()
        self._num_sending = 0  # an event can follow a ping that is still being sent
        self._ping_after_s = PING_S - random.uniform(0, PING_JITTER_S)

    async def send_message(self, message: bytes, *, is_last: bool = False) -> None:
        """Send bytes. This waits while the buffers of the connection are full."""
        self._sent_at = self._loop.time()
        self._num_sending += 1
        try:
            await self._send({"type": "http.response.body", "body": message, "more_body": not is_last})
        finally:
            self._num_sending -= 1

    def check(self, now: float, *, is_stopping: bool) -> None:
        """Send a ping if the stream is silent. End the stream if the server stops, or the client does not read."""
        silent_s = now - self._sent_at
        if self._num_sending:
            if silent_s > SEND_TIMEOUT_S and self._task is not None:
                self.has_timed_out = True
                self._task.cancel()
        elif is_stopping:
            self._stream.evict()
        elif silent_s > self._ping_after_s:
            self._ping = self._loop.create_task(self._send_ping())

    async def _send_ping(self) -> None:
        try:
            await self.send_message(PING)
        except OSError:  # the client has left, which ends the stream
            log.debug("event_stream.ping_failed", exc_info=True)

    def close(self) -> None:
        """Stop sending."""
        if self._ping is not None:
            self._ping.cancel()


class EventConnections:
    """The connections of all streams of this process, and the events that were encoded for them."""

    def __init__(self) -> None:
        self._open: set[EventConnection] = set()
        self._watcher: asyncio.Task[None] | None = None
        self._encoded: dict[str, dict[int, bytes]] = {}

    def add(self, connection: EventConnection) -> None:
        self._open.add(connection)
        if self._watcher is None:
            self._watcher = asyncio.create_task(self._watch(), name="event-connections")

    def remove(self, connection: EventConnection) -> None:
        self._open.discard(connection)
        connection.close()
        if not self._open and self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None

    def encode_once(self, event: Event, encode: Callable[[Event], bytes]) -> bytes:
        """Return an encoded event. All streams of its job send the same bytes."""
        events = self._encoded.get(event.job_id)
        if events is None:
            if len(self._encoded) >= MAX_ENCODED_JOBS:
                del self._encoded[next(iter(self._encoded))]
            events = self._encoded[event.job_id] = {}
        encoded = events.get(event.seq)
        if encoded is None:
            encoded = events[event.seq] = encode(event)
            if len(events) > MAX_ENCODED_EVENTS:
                del events[min(events)]
        return encoded

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(CHECK_S)
            now, is_stopping = loop.time(), is_server_stopping()
            for connection in tuple(self._open):
                try:
                    connection.check(now, is_stopping=is_stopping)
                except Exception:  # one stream must not end the checks of all others
                    log.exception("event_stream.check_failed")


class EventStreamResponse(StreamingResponse, Generic[Item]):
    """Sends the events of a stream, and closes the stream even if the client disconnects before the first event.

    Args:
        stream: the stream.
        encode: returns the bytes of an event.
        connections: the connections of this process.
        first: bytes that are sent before the first event.
    """

    def __init__(
        self,
        stream: SendableStream[Item],
        encode: Callable[[Item], bytes],
        connections: EventConnections,
        *,
        first: bytes = b"",
    ) -> None:
        super().__init__((), headers=HEADERS, media_type=MEDIA_TYPE)
        self._stream, self._encode, self._connections, self._first = stream, encode, connections, first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the response.

        Raises:
            SendTimeoutError: the client does not read.
        """
        connection = EventConnection(self._stream, send)
        self._connections.add(connection)
        self._is_disconnected = False
        disconnection = asyncio.create_task(self._wait_for_disconnection(receive))
        try:
            await self._send_events(connection, send)
        except asyncio.CancelledError:
            if not connection.has_timed_out:
                raise
            raise SendTimeoutError("The client does not read its events.") from None
        finally:
            disconnection.cancel()
            self._connections.remove(connection)
            self._stream.close()

    async def _send_events(self, connection: EventConnection, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if self._is_disconnected:  # a HEAD request ends here
            return
        if self._first:
            await connection.send_message(self._first)
        async for event in self._stream:
            await connection.send_message(self._encode(event))
        await connection.send_message(b"", is_last=True)

    async def _wait_for_disconnection(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._is_disconnected = True
        self._stream.evict()


def format_message(body: str = "", *, event: str = "", event_id: str) -> bytes:
    """Return a server-sent event. Without `event`, it only sets the last event id of the client."""
    fields = f"event: {event}\r\ndata: {body}\r\n" if event else ""
    return f"id: {event_id}\r\n{fields}\r\n".encode()


def is_server_stopping() -> bool:
    """Return whether uvicorn, whose method handles the signal, waits for the ends of the connections."""
    server: Any = getattr(signal.getsignal(signal.SIGTERM), "__self__", None)
    return getattr(server, "should_exit", False) is True
