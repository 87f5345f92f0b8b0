"""A proxy for an S3 server that rejects, truncates or drops some responses."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Literal
from urllib.parse import urlsplit

Fault = Literal["none", "refuse", "cut", "lose"]
Plan = Callable[[str, str], Fault]
"""Maps method and path to a fault. refuse: 503; cut: truncated response; lose: processed, but without a response."""


class FaultyS3:
    """A proxy. `plan` can be changed at any time; `seen` has all requests so far."""

    def __init__(self, upstream: str) -> None:
        self.plan: Plan = lambda method, path: "none"
        self.seen: list[tuple[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, urlsplit(upstream).netloc))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _handler(proxy: FaultyS3, upstream: str) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Log nothing."""

        def handle_any(self) -> None:
            path = urlsplit(self.path).path
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            proxy.seen.append((self.command, path))
            fault = proxy.plan(self.command, path)
            if fault == "refuse":
                self._send(503, [], b"")
                return
            status, headers, response = self._forward(body)
            if fault == "none":
                self._send(status, headers, response)
                return
            if fault == "cut":
                self._send(status, headers, response, len(response) // 2)
            self.close_connection = True

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = handle_any  # noqa: N815 - names of http.server

        def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
            connection = http.client.HTTPConnection(upstream, timeout=30)
            try:
                connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
                for name, value in self.headers.items():  # including Host, which is part of the signature
                    connection.putheader(name, value)
                connection.endheaders(body)
                response = connection.getresponse()
                return response.status, response.getheaders(), response.read()
            finally:
                connection.close()

        def _send(self, status: int, headers: list[tuple[str, str]], body: bytes, most: int | None = None) -> None:
            self.send_response_only(status)
            for name, value in headers:
                if name.lower() not in {"content-length", "connection", "transfer-encoding"}:
                    self.send_header(name, value)
            length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            if status != 204:
                self.send_header("Content-Length", length)
            self.end_headers()
            self.wfile.write(body[:most])

    return Handler


@contextmanager
def faulty_s3(upstream: str) -> Iterator[FaultyS3]:
    proxy = FaultyS3(upstream)
    proxy.start()
    try:
        yield proxy
    finally:
        proxy.stop()
