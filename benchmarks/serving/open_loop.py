"""Open-loop load: sends requests at a fixed rate, without waiting for responses.

    python -m benchmarks.serving.open_loop URL BODY CONTENT_TYPE --rate 600 --seconds 8 [--timeout 10]

Response times start at the scheduled time of a request, so that delays of the generator count too. Connections are
reused; a new one is opened if all are busy. The process raises its own priority if permitted, because real callers
would use other CPUs. It prints one line of JSON at the end.
"""

import argparse
import asyncio
import json
import os
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import uvloop

from benchmarks.serving.arithmetic import compute_percentile


class Connection(asyncio.Protocol):
    """A connection with one request at a time. Its future gets the status, or 0 if the connection was lost."""

    def __init__(self) -> None:
        self.response: asyncio.Future[int] | None = None
        self.is_open = False
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.is_open = True

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self._set_status(0)

    def send(self, request: bytes) -> "asyncio.Future[int]":
        self._received, self.response = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.response

    def data_received(self, received: bytes) -> None:
        self._received += received
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(rest) >= length:
            self._set_status(int(head[9:12]))
            if b"connection: close" in lines:
                self.is_open = False
                self.transport.close()

    def _set_status(self, status: int) -> None:
        if self.response is not None and not self.response.done():
            self.response.set_result(status)


class Generator:
    def __init__(self, url: str, content_type: str, body: bytes, timeout_s: float) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: {content_type}\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._timeout_s = timeout_s
        self._idle: list[Connection] = []
        self.seconds: dict[int, list[float]] = {}  # by status; 0 means a lost connection
        self.num_late = 0

    async def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests per second at even intervals, then wait for the last responses."""
        started_at, sent, calls = time.perf_counter(), 0, set[asyncio.Task[None]]()
        while (now := time.perf_counter() - started_at) < seconds:
            while sent < now * rate:
                call = asyncio.create_task(self._send_at(started_at + sent / rate))
                calls.add(call)
                call.add_done_callback(calls.discard)
                sent += 1
            await asyncio.sleep(0.001)
        if calls:
            await asyncio.wait(calls)

    async def _send_at(self, due: float) -> None:
        connection = None
        try:
            async with asyncio.timeout(self._timeout_s):
                connection = await self._get_connection()
                status = await connection.send(self._request)
        except TimeoutError:
            self.num_late += 1
            if connection is not None:
                connection.transport.close()
            return
        except OSError:
            status = 0
        self.seconds.setdefault(status, []).append(time.perf_counter() - due)
        if connection is not None and connection.is_open:
            self._idle.append(connection)

    async def _get_connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        _, fresh = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        return fresh


def summarize(generator: Generator, seconds: float) -> dict[str, object]:
    """Return the results. Times are in milliseconds."""
    accepted, rejected = generator.seconds.get(200, []), generator.seconds.get(503, [])
    statuses = Counter({str(status): len(times) for status, times in generator.seconds.items()})
    return {
        "accepted_per_s": len(accepted) / seconds,
        "accepted_p50_ms": compute_percentile(accepted, 0.5) * 1e3 if accepted else None,
        "accepted_p99_ms": compute_percentile(accepted, 0.99) * 1e3 if accepted else None,
        "rejected_p50_ms": compute_percentile(rejected, 0.5) * 1e3 if rejected else None,
        "rejected_p99_ms": compute_percentile(rejected, 0.99) * 1e3 if rejected else None,
        "timeouts": generator.num_late,
        "statuses": dict(statuses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("content_type")
    parser.add_argument("--rate", type=float, required=True, help="requests per second")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--timeout", type=float, default=10, help="seconds that a caller waits for a response")
    options = parser.parse_args()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    generator = Generator(options.url, options.content_type, options.body.read_bytes(), options.timeout)
    uvloop.run(generator.run(options.rate, options.seconds))
    print(json.dumps(summarize(generator, options.seconds)))


if __name__ == "__main__":
    main()
