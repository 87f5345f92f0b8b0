"""A uvicorn server with our protocol in a thread, and a raw client."""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp

from app.http.uvicorn_protocol import CoalescingHttpProtocol
from tests.support.processes import wait_for

TIMEOUT_S = 30.0


class RunningServer(NamedTuple):
    """A server and its address."""

    server: uvicorn.Server
    port: int

    @property
    def connections(self) -> set[Any]:
        """The protocols of all open connections."""
        return self.server.server_state.connections


@contextmanager
def run_server(app: ASGIApp, **options: Any) -> Iterator[RunningServer]:
    """Serve an application on a free port of 127.0.0.1. `options` are uvicorn's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        config = uvicorn.Config(
            app,
            http=CoalescingHttpProtocol,
            ws="none",
            proxy_headers=False,
            log_level="critical",
            timeout_graceful_shutdown=1,
            **options,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])), daemon=True)
        thread.start()
        wait_for(lambda: server.started or not thread.is_alive(), "uvicorn", 30)
        assert thread.is_alive(), "the server did not start"
        try:
            yield RunningServer(server, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(20)


class Reply(NamedTuple):
    """What a connection received until the server closed it, and how many bytes it sent before."""

    status: int
    headers: dict[str, str]
    body: bytes
    num_sent: int


def send_raw(port: int, chunks: Iterable[bytes], max_bytes: int = 64 * 2**20) -> Reply:
    """Send chunks until the server stops reading, and return its response. Fails if it does not close in time."""
    num_sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT_S) as connection:
        with contextlib.suppress(ConnectionError):
            for chunk in chunks:
                connection.sendall(chunk)
                num_sent += len(chunk)
                if num_sent >= max_bytes:
                    break
        received = read_to_end(connection)
    head, _, body = received.partition(b"\r\n\r\n")
    status_line, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    return Reply(int((status_line.split() or ["", "0"])[1]), headers, body, num_sent)


def read_to_end(connection: socket.socket) -> bytes:
    """Return everything that the server sends until it closes the connection."""
    received = b""
    with contextlib.suppress(ConnectionError):
        while chunk := connection.recv(65536):
            received += chunk
    return received
