"""Limits of request heads, chunk framing, pipelining and connections, over real sockets."""

import socket
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from app.http import limited_protocol as limits
from app.http.browser_guard import BrowserGuardMiddleware
from tests.support import hostile_heads
from tests.support.http_server import RunningServer, read_to_end, run_server, send_raw
from tests.support.processes import wait_for

MAX_IN_FLIGHT = 8 * 2**20  # what the sockets of both sides can buffer
CLOSE = b"Connection: close\r\n"


class Application:
    """Responds with the number of bytes of the body, and counts its calls."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.num_calls = 0
        self.headers: list[tuple[bytes, bytes]] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.num_calls += 1
        request = Request(scope, receive)
        body = await request.body()
        self.headers = list(scope["headers"])
        await PlainTextResponse(f"{len(body)} {scope['path']}")(scope, receive, send)


@pytest.fixture(scope="module")
def shared_server() -> Iterator[tuple[Application, RunningServer]]:
    """One server for all tests."""
    app = Application()
    guard = BrowserGuardMiddleware(app, allowed_hosts=(), cors_origins=(), has_keys=False)
    with run_server(guard, lifespan="off") as server:
        yield app, server


@pytest.fixture
def app(shared_server: tuple[Application, RunningServer]) -> Application:
    shared_server[0].reset()
    return shared_server[0]


@pytest.fixture
def server(app: Application, shared_server: tuple[Application, RunningServer]) -> RunningServer:
    return shared_server[1]


def build_head(num_bytes: int, num_headers: int = 0) -> bytes:
    """Return a request whose target and headers have so many bytes, as the limit counts them."""
    fixed = hostile_heads.HOST + CLOSE + b"".join(b"n%d: 1\r\n" % number for number in range(num_headers))
    rest = num_bytes - len(b"/") - len(fixed) - len(b"x: \r\n")
    return b"GET / HTTP/1.1\r\n" + fixed + b"x: " + b"a" * rest + b"\r\n\r\n"


# -- heads -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("generate", hostile_heads.ENDLESS, ids=lambda each: each.__name__)
def test_a_head_or_framing_without_end_is_a_431(
    generate: Callable[[], Iterator[bytes]], server: RunningServer, app: Application
) -> None:
    reply = send_raw(server.port, generate(), max_bytes=4 * MAX_IN_FLIGHT)
    assert reply.num_sent < 4 * MAX_IN_FLIGHT, "the server reads on"
    assert (reply.status, reply.headers["connection"]) == (431, "close")
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["x-request-id"]
    assert b'"/problems/header-fields-too-large"' in reply.body
    wait_for(lambda: not server.connections, "the end of the connection", 30)


@pytest.mark.parametrize(("num_bytes", "status"), [(limits.MAX_HEAD_BYTES, 200), (limits.MAX_HEAD_BYTES + 1, 431)])
@pytest.mark.parametrize("chunk_size", [1000, 2**20])
def test_the_limit_is_exact_however_the_head_arrives(
    num_bytes: int, status: int, chunk_size: int, server: RunningServer
) -> None:
    head = build_head(num_bytes)
    chunks = [head[start : start + chunk_size] for start in range(0, len(head), chunk_size)]
    # The request line has more bytes than its target: a head at the limit is refused while it is incomplete.
    if status == 200 and chunk_size == 1000:
        chunks = [head[:60_000], head[60_000:]]
    assert send_raw(server.port, chunks).status == status


def test_more_than_a_hundred_headers_are_a_431(server: RunningServer, app: Application) -> None:
    num_others = 3  # Host, Connection and x
    assert send_raw(server.port, [build_head(3000, limits.MAX_HEADERS - num_others)]).status == 200
    assert send_raw(server.port, [build_head(3000, limits.MAX_HEADERS - num_others + 1)]).status == 431
    assert app.num_calls == 1


def test_a_head_may_arrive_byte_by_byte(server: RunningServer) -> None:
    head = build_head(200)
    assert send_raw(server.port, [head[at : at + 1] for at in range(len(head))]).status == 200


def test_each_request_of_a_connection_has_the_whole_limit(server: RunningServer) -> None:
    large = build_head(40_000).replace(CLOSE, b"")
    reply = send_raw(server.port, [large, large, build_head(40_000)])
    assert reply.status == 200
    assert reply.body.count(b"HTTP/1.1 200 OK") == 2


def test_a_body_does_not_count_as_head(server: RunningServer) -> None:
    body = b"x" * 300_000
    head = b"POST / HTTP/1.1\r\n" + hostile_heads.HOST + CLOSE + b"Content-Length: 300000\r\n\r\n"
    assert send_raw(server.port, [head + body]).body == b"300000 /"


def test_a_body_in_small_chunks_is_accepted(server: RunningServer) -> None:
    chunks = b"1\r\nx\r\n" * 30_000
    head = b"POST / HTTP/1.1\r\n" + hostile_heads.HOST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    assert send_raw(server.port, [head + chunks + b"0\r\n\r\n"]).body == b"30000 /"


def test_trailers_do_not_become_headers(server: RunningServer, app: Application) -> None:
    head = b"POST / HTTP/1.1\r\n" + hostile_heads.HOST + CLOSE + b"Transfer-Encoding: chunked\r\n\r\n"
    assert send_raw(server.port, [head + b"1\r\nx\r\n0\r\nAuthorization: Bearer x\r\n\r\n"]).status == 200
    assert b"authorization" not in dict(app.headers)


def test_a_slow_head_is_a_408_and_a_silent_connection_is_closed(
    server: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.05)
    assert send_raw(server.port, [b"GET / HTTP/1.1\r\nHos"]).status == 408
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        assert read_to_end(connection) == b""


def test_an_idle_connection_is_not_a_slow_head(server: RunningServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HEAD_TIMEOUT_S", 0.05)
    request = build_head(200).replace(CLOSE, b"")
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        for _ in range(3):
            connection.sendall(request)
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.2)  # several times the timeout


def test_an_idle_connection_is_closed(app: Application) -> None:
    with (
        run_server(app, lifespan="off", timeout_keep_alive=1) as server,
        socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection,
    ):
        connection.sendall(build_head(200).replace(CLOSE, b""))
        assert read_to_end(connection).startswith(b"HTTP/1.1 200")


# -- malformed requests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", hostile_heads.MALFORMED)
def test_a_malformed_request_is_a_problem(name: str, server: RunningServer, app: Application) -> None:
    request = hostile_heads.MALFORMED[name]
    reply = send_raw(server.port, [request.replace(hostile_heads.HOST, hostile_heads.HOST + CLOSE, 1)])
    if reply.status != 400 and "host" in name:  # these requests have no Host line of ours, so no Connection either
        reply = send_raw(server.port, [request.replace(b"\r\n", b"\r\n" + CLOSE, 1)])
    assert (reply.status, reply.headers["content-type"]) == (400, "application/problem+json")
    assert b'"/problems/malformed-request"' in reply.body
    assert app.num_calls == 0


def test_an_error_in_a_later_request_does_not_replace_an_earlier_response(server: RunningServer) -> None:
    reply = send_raw(server.port, [b"GET /a HTTP/1.1\r\n" + hostile_heads.HOST + b"\r\nFOO / HTTP/1.1\r\n\r\n"])
    assert (reply.status, reply.body) == (200, b"0 /a")


def test_a_malformed_chunk_is_a_problem(server: RunningServer) -> None:
    assert send_raw(server.port, [hostile_heads.CHUNKED + b"zz\r\n"]).status == 400


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"http://127.0.0.1/x", 200),
        (b"http://127.0.0.1:80?a=1", 200),
        (b"HTTP://[::1]:8000/x", 200),
        (b"http://evil.example/", 403),
        (b"http://evil.example", 403),
        (b"http://127.0.0.1@evil.example/", 400),
    ],
)
def test_the_host_of_an_absolute_target_counts(target: bytes, status: int, server: RunningServer) -> None:
    reply = send_raw(server.port, [b"GET " + target + b" HTTP/1.1\r\n" + hostile_heads.HOST + CLOSE + b"\r\n"])
    assert reply.status == status


# -- pipelining and connections --------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(server: RunningServer) -> None:
    requests = [b"GET /%d HTTP/1.1\r\n" % number + hostile_heads.HOST + b"\r\n" for number in range(20)]
    requests.append(b"GET /end HTTP/1.1\r\n" + hostile_heads.HOST + CLOSE + b"\r\n")
    body = send_raw(server.port, [b"".join(requests)]).body
    assert [body.index(b"0 /%d" % number) for number in range(20)] == sorted(
        body.index(b"0 /%d" % number) for number in range(20)
    )
    assert body.endswith(b"0 /end")


def test_a_flood_of_pipelined_requests_is_cut_off(server: RunningServer, app: Application) -> None:
    request = b"GET / HTTP/1.1\r\n" + hostile_heads.HOST + b"\r\n"
    reply = send_raw(server.port, [request * 5000])
    assert reply.status == 200
    assert app.num_calls <= limits.MAX_PIPELINED + 1


def test_connections_over_the_limit_get_a_503(app: Application) -> None:
    with run_server(app, lifespan="off", limit_concurrency=2) as server:
        idle = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        wait_for(lambda: len(server.connections) == 2, "both connections", 30)
        reply = send_raw(server.port, [])
        assert (reply.status, reply.headers["retry-after"]) == (503, "1")
        assert b'"/problems/overloaded"' in reply.body
        idle.pop().close()
        wait_for(lambda: len(server.connections) == 1, "the end of a connection", 30)
        assert send_raw(server.port, [build_head(200)]).status == 200
        idle.pop().close()


def test_a_client_can_send_the_rest_of_a_large_request_and_read_the_refusal(server: RunningServer) -> None:
    head = build_head(2 * 2**20)
    for _ in range(5):
        reply = send_raw(server.port, [head])
        assert (reply.status, reply.num_sent) == (431, len(head))


def test_a_client_can_send_the_rest_of_a_body_after_the_connection_is_closed() -> None:
    async def reject(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 401, {"Connection": "close"})(scope, receive, send)

    head = b"POST / HTTP/1.1\r\n" + hostile_heads.HOST + b"Content-Length: 4000000\r\n\r\n"
    app: Any = reject
    with run_server(app, lifespan="off") as server:
        for _ in range(5):
            reply = send_raw(server.port, [head, *[b"x" * 500_000] * 8])
            assert (reply.status, reply.num_sent) == (401, len(head) + 4_000_000)


def test_the_rest_of_a_rejected_body_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def reject(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 404)(scope, receive, send)

    def endless_body() -> Iterator[bytes]:
        yield hostile_heads.CHUNKED
        while True:
            yield b"1000\r\n" + b"x" * 4096 + b"\r\n"

    app: Any = reject
    with run_server(app, lifespan="off") as server:
        limit = limits.MAX_DISCARDED_BYTES + 4 * MAX_IN_FLIGHT
        assert send_raw(server.port, endless_body(), max_bytes=limit).num_sent < limit
