"""The target that reads HTTP connections: the protocol of the server without sockets, with the checks of browsers."""

import asyncio
import itertools
from collections.abc import Iterator
from typing import Any

import uvicorn
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send
from uvicorn.server import ServerState

from app.http import limited_protocol as limits
from app.http.asgi import get_media_type
from app.http.browser_guard import BrowserGuardMiddleware
from app.http.cancellation import parse_timeout
from app.http.uvicorn_protocol import CoalescingHttpProtocol
from app.problems.exception_handlers import build_error_response
from tests.fuzz.target import FuzzTarget
from tests.support import hostile_heads

CHUNK_SIZES = (1, 7, 100, 1000, 2**16)
MAX_TURNS = 200
_MAX_BODY_BYTES = 2**20


class FakeTransport(asyncio.Transport):
    """A transport that keeps what is written to it."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2)})
        self.written = bytearray()
        self._is_closing = False

    def write(self, chunk: bytes | bytearray | memoryview) -> None:
        assert not self._is_closing, "the protocol writes to a closed connection"
        self.written += chunk

    def close(self) -> None:
        self._is_closing = True

    def abort(self) -> None:
        self._is_closing = True

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0


class Application:
    """Reads what endpoints read from a request. It keeps unexpected errors, which uvicorn would only log."""

    def __init__(self) -> None:
        self.reset()
        self._guarded = BrowserGuardMiddleware(
            self._respond, allowed_hosts=("*.example.org",), cors_origins=("https://app.example.org",), has_keys=False
        )

    def reset(self) -> None:
        """Forget earlier requests."""
        self.errors: list[Exception] = []
        self.methods: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.methods.append(scope["method"])
        try:
            await self._guarded(scope, receive, send)
        except ClientDisconnect:
            pass
        except Exception as error:
            self.errors.append(error)
            raise

    async def _respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        assert len(scope["headers"]) <= limits.MAX_HEADERS
        assert sum(len(name) + len(value) for name, value in scope["headers"]) <= limits.MAX_HEAD_BYTES
        body = await request.body()
        assert len(body) <= _MAX_BODY_BYTES
        try:
            parse_timeout(scope)
        except HTTPException as error:
            response = build_error_response(request, error)
            assert response is not None
            await response(scope, receive, send)
            return
        text = f"{len(body)} {get_media_type(scope)!r} {request.url} {dict(request.query_params)!r}"
        await PlainTextResponse(text.encode("utf-8", "replace"))(scope, receive, send)


APP = Application()
CONFIG = uvicorn.Config(
    APP, http=CoalescingHttpProtocol, ws="none", lifespan="off", proxy_headers=False, log_config=None
)


def read_connection(body: bytes) -> None:
    """Read a connection in chunks, whose size the first byte selects. Each response has to be complete and no 5xx."""
    if not body:
        return
    with asyncio.Runner() as runner:
        runner.run(_read_connection(body[1:], CHUNK_SIZES[body[0] % len(CHUNK_SIZES)]))


async def _read_connection(stream: bytes, chunk_size: int) -> None:
    transport, problems = FakeTransport(), list[dict[str, Any]]()
    APP.reset()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: problems.append(context))
    state = ServerState()
    protocol = CoalescingHttpProtocol(CONFIG, state, {}, loop)
    protocol.connection_made(transport)
    for start in range(0, len(stream), chunk_size):
        protocol.data_received(stream[start : start + chunk_size])
        assert len(protocol.headers) <= limits.MAX_HEADERS + limits.FEED_BYTES // 4
        if start % 100 == 0:
            await asyncio.sleep(0)
        if transport.is_closing():
            break
    for _ in itertools.takewhile(lambda _: state.tasks and not APP.errors, range(MAX_TURNS)):
        await asyncio.sleep(0)
    protocol.connection_lost(ConnectionResetError())
    if state.tasks:
        await asyncio.wait(state.tasks)
    assert not problems, problems
    for error in APP.errors:
        raise error
    _check_responses(bytes(transport.written), iter(APP.methods))


def _check_responses(written: bytes, methods: Iterator[str]) -> None:
    """Check the responses that were written: complete heads, and no status of 500 or more.

    The responses of the application are in the order of its requests. A refusal of the protocol is the last response.
    """
    while written:
        head, end, rest = written.partition(b"\r\n\r\n")
        assert end, f"an incomplete head: {head[:200]!r}"
        status_line, *lines = head.split(b"\r\n")
        version, status, _ = status_line.split(b" ", 2)
        assert version == b"HTTP/1.1", status_line
        assert int(status) < 500, status_line
        fields = dict(line.lower().split(b": ", 1) for line in lines)
        if status != b"100" and next(methods, "") != "HEAD":
            rest = rest[int(fields[b"content-length"]) :]
        written = rest


def build_connections() -> list[bytes]:
    """Return connections with valid and hostile requests."""
    host = hostile_heads.HOST
    endless = [b"".join(itertools.islice(generate(), 3))[:2000] for generate in hostile_heads.ENDLESS]
    valid = [
        hostile_heads.REQUEST_LINE + host + b"\r\n",
        b"POST /v1/jobs HTTP/1.1\r\n" + host + b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
        hostile_heads.CHUNKED + b"3;a=b\r\nabc\r\n0\r\nx: y\r\n\r\n",
        (hostile_heads.REQUEST_LINE + host + b"\r\n") * 3,
        b"GET http://127.0.0.1/a?b=%20c HTTP/1.0\r\nHost: x\r\nConnection: keep-alive\r\n\r\n",
        b"POST / HTTP/1.1\r\n"
        + host
        + b"Origin: http://evil.example\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\nx",
        b"GET /%ff%00 HTTP/1.1\r\n"
        + host
        + b"X-Request-Timeout: nan\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: [::1]:8000\r\nOrigin: null\r\nSec-Fetch-Site: cross-site\r\n\r\n",
    ]
    streams = [*valid, *hostile_heads.MALFORMED.values(), *endless, b"".join(valid)]
    return [bytes([number % len(CHUNK_SIZES)]) + stream for number, stream in enumerate(streams)]


HTTP_TOKENS = (
    b"\r\n",
    b"\r\n\r\n",
    b"Host: localhost\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"0\r\n\r\n",
    b"Connection: close\r\n",
    b"Connection: keep-alive\r\n",
    b"Upgrade: h2c\r\n",
    b"Expect: 100-continue\r\n",
    b" HTTP/1.1\r\n",
    b"Origin: http://localhost\r\n",
    b"Sec-Fetch-Site: same-site\r\n",
    b"X-Request-Timeout: 1e9\r\n",
    b"http://",
    b"?",
    b"#",
    b"CONNECT ",
    b"HEAD ",
    b"OPTIONS ",
    b"POST ",
    b"GET ",
    hostile_heads.REQUEST_LINE + hostile_heads.HOST + b"\r\n",
)
TARGETS = {"http_head": FuzzTarget(read_connection, build_connections, tokens=HTTP_TOKENS)}
