"""A uvicorn protocol that limits what a connection can send before the application sees a request.

The parser keeps everything that belongs to the head of a request, so that a head without end would fill the memory.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from app.http import metrics
from app.http.raw_response import Refusal, describe_refusal, encode_refusal
from core.errors import Overloaded

log = structlog.get_logger(__name__)

MAX_HEAD_BYTES = 64 * 2**10
MAX_HEADERS = 100
MAX_PIPELINED = 64
HEAD_TIMEOUT_S = 30.0
MAX_DISCARDED_BYTES = 8 * 2**20
LINGER_S = 2.0
FRAMING_RATIO = 8  # a chunk of one byte takes six
FEED_BYTES = 16 * 2**10  # heads are parsed in pieces of this size, so that one read cannot add many headers

LINGERING_STATUSES = (HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
MALFORMED = describe_refusal(HTTPStatus.BAD_REQUEST, "The request is not valid HTTP/1.1.")
HEAD_TOO_LARGE = describe_refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"The request line and the headers may have at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} headers.",
)
FRAMING_TOO_LARGE = describe_refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    f"Chunk extensions and trailers may have at most {MAX_HEAD_BYTES} bytes and {MAX_HEADERS} trailers.",
)
HEAD_TOO_SLOW = describe_refusal(
    HTTPStatus.REQUEST_TIMEOUT, f"The request line and the headers must arrive within {HEAD_TIMEOUT_S:g} s."
)
TOO_MANY_PIPELINED = describe_refusal(
    HTTPStatus.BAD_REQUEST, f"At most {MAX_PIPELINED} requests may wait for the response of an earlier one."
)


class LimitedHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits for heads, chunk framing, pipelining, connections and slow clients.

    `limit_concurrency` of uvicorn's configuration is the maximum number of connections.
    """

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 - uvicorn's arguments
        super().__init__(*args, **options)
        self._max_connections, self.limit_concurrency = self.limit_concurrency, None
        self.url, self.headers = b"", []
        self._is_in_head = True
        self._is_large_read = False
        self._num_head_bytes = 0
        self._num_framing_bytes = 0
        self._num_discarded_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._refusal = MALFORMED
        self._is_refused = False
        self._is_lingering = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(transport)
        if self._max_connections is not None and len(self.connections) > self._max_connections:
            detail = f"The server has {self._max_connections} connections, the maximum; try again."
            status = HTTPStatus.SERVICE_UNAVAILABLE
            self._refuse(Refusal(status, Overloaded.slug, Overloaded.title, detail))
        else:
            self._start_head_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, chunk: bytes) -> None:
        if self._is_in_head and not self._is_refused and len(chunk) <= FEED_BYTES:  # first, since it is most frequent
            self._receive_head(chunk)
        elif self._is_refused:
            self._discard(chunk)
        elif not self._is_in_head:
            self._receive_body(chunk)
        else:
            self._receive_large_read(chunk)

    def _receive_large_read(self, chunk: bytes) -> None:
        position = 0
        while position < len(chunk) and self._is_in_head and not self._is_refused:
            self._receive_head(chunk[position : position + FEED_BYTES])
            position += FEED_BYTES
        if position < len(chunk) and not self._is_refused:
            self._receive_body(chunk[position:])

    def _receive_head(self, chunk: bytes) -> None:
        cycle = self.cycle
        HttpToolsProtocol.data_received(self, chunk)  # `super()` takes longer, and this method handles every request
        if not self._is_in_head or self._is_refused:
            return
        if self.cycle is not cycle and self.scope is self.cycle.scope:  # the data ended with a whole request
            return
        self._num_head_bytes += len(chunk)
        if self._num_head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(HEAD_TOO_LARGE)
        elif self._head_timer is None:
            self._start_head_timer()

    def _receive_body(self, chunk: bytes) -> None:
        cycle = self.cycle
        num_before = len(cycle.body)
        self._is_large_read = len(chunk) > FEED_BYTES
        super().data_received(chunk)
        self._is_large_read = False
        if self._is_refused or self._is_in_head or self.cycle is not cycle:
            return
        if cycle.response_complete:  # the body is discarded
            self._discard(chunk)
            return
        num_body_bytes = len(cycle.body) - num_before
        self._num_framing_bytes = max(0, self._num_framing_bytes + len(chunk) - FRAMING_RATIO * num_body_bytes)
        if self._num_framing_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
            self._refuse(FRAMING_TOO_LARGE)

    def _discard(self, chunk: bytes) -> None:
        self._num_discarded_bytes += len(chunk)
        if self._num_discarded_bytes > MAX_DISCARDED_BYTES:
            self.transport.close()

    def start_lingering(self) -> bool:
        """Keep the connection for a moment to discard the rest of a request, instead of closing it. Return whether.

        Closing a connection with unread data resets it, and the client may lose the response.
        """
        has_unread_body = not self._is_in_head and self.cycle.more_body
        is_refused = self._is_refused and self._refusal.status in LINGERING_STATUSES
        if self._is_lingering or self.transport.is_closing() or not (has_unread_body or is_refused):
            return False
        self._is_lingering = self._is_refused = True
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(LINGER_S, self.transport.close)
        return True

    def on_headers_complete(self) -> None:
        may_be_too_large = self._is_large_read or self._num_head_bytes > MAX_HEAD_BYTES - FEED_BYTES
        if len(self.headers) > MAX_HEADERS or (may_be_too_large and self._is_head_too_large()):
            self._abort_parsing(HEAD_TOO_LARGE)
        if len(self.pipeline) >= MAX_PIPELINED:
            self._abort_parsing(TOO_MANY_PIPELINED)
        if self.url[:1] != b"/":
            self._apply_absolute_target()
        HttpToolsProtocol.on_headers_complete(self)
        self.headers = []  # receives the trailers, which must not become headers of the request
        self._is_in_head = False
        self._num_head_bytes = self._num_framing_bytes = self._num_discarded_bytes = 0
        if self._head_timer is not None:
            self._stop_head_timer()

    def on_message_complete(self) -> None:
        HttpToolsProtocol.on_message_complete(self)
        self._is_in_head = True

    def on_response_complete(self) -> None:
        is_last = not self.pipeline
        HttpToolsProtocol.on_response_complete(self)
        if self._is_refused and is_last and not self._is_lingering:
            self.transport.close()

    def send_400_response(self, msg: str) -> None:
        """Reject what the parser does not accept, or what a callback has rejected."""
        self._refuse(self._refusal)

    def _is_head_too_large(self) -> bool:
        """Return True if the complete head exceeds the limit."""
        num_header_bytes = sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
        return len(self.url) + num_header_bytes > MAX_HEAD_BYTES

    def _abort_parsing(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise ValueError(refusal.detail)  # the parser stops, and uvicorn calls `send_400_response`

    def _apply_absolute_target(self) -> None:
        """Convert `GET http://host/path` to `/path` and `Host: host`, as RFC 9112, 3.2.2 requires."""
        scheme, separator, rest = self.url.partition(b"://")
        if not separator or scheme.lower() not in (b"http", b"https"):
            return
        end = min((position for mark in b"/?#" if (position := rest.find(mark)) >= 0), default=len(rest))
        authority, target = rest[:end], rest[end:]
        self.url = target if target.startswith(b"/") else b"/" + target
        hosts = [index for index, (name, _) in enumerate(self.headers) if name == b"host"]
        if len(hosts) == 1:  # the application rejects any other number
            self.headers[hosts[0]] = (b"host", authority)

    def _start_head_timer(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._close_slow_head)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _close_slow_head(self) -> None:
        self._head_timer = None
        if self._is_active():  # the client may send the next request slowly while it waits for a response
            self._start_head_timer()
        elif self._has_partial_head():
            self._refuse(HEAD_TOO_SLOW)
        else:
            self.transport.close()

    def _has_partial_head(self) -> bool:
        """Return whether a part of the next head has arrived. uvicorn then has created the scope of the request."""
        cycle: RequestResponseCycle | None = self.cycle
        return self.scope is not (None if cycle is None else cycle.scope)

    def _is_active(self) -> bool:
        """Return whether a request waits for its response."""
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and (bool(self.pipeline) or not cycle.response_complete)

    def _refuse(self, refusal: Refusal) -> None:
        """Respond with a problem and close the connection, after the responses of earlier requests."""
        self._refusal, self._is_refused = refusal, True
        self._stop_head_timer()
        self._unset_keepalive_if_required()
        client = self.client[0] if self.client else ""
        log.warning("request.refused", status=int(refusal.status), detail=refusal.detail, client=client)
        metrics.REQUESTS.labels("", "unmatched", str(int(refusal.status))).inc()
        if self._is_active() and not self._drop_broken_request():
            self.flow.pause_reading()
            return
        if not self.transport.is_closing():
            if self._is_in_head or not self.cycle.response_started:
                self.transport.write(encode_refusal(refusal, self.url, self.server_state.default_headers))
            self.transport.close()

    def _drop_broken_request(self) -> bool:
        """End the request whose body was being received. Return whether no other request waits for its response."""
        if self._is_in_head:  # the next request is broken, not its predecessor
            return False
        if self.pipeline:
            self.pipeline.popleft()
            return False
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return True
