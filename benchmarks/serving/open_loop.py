"""Open-loop load, a process of its own: requests leave when their time has come, answered or not.

    python -m benchmarks.serving.open_loop URL BODY CONTENT_TYPE --rate 600 --seconds 8 [--patience 10]

A time counts from the moment when a request should have left, so that a server which holds the generator up is not
spared. Connections are kept and reused; a new one is opened where all are taken. It goes first on a processor, where it
may: callers elsewhere would have processors of their own. Ends with one line of JSON.
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

from benchmarks.serving.arithmetic import percentile


class Connection(asyncio.Protocol):
    """One request at a time; tells the status of its answer, or 0 where the connection was lost."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[int] | None = None
        self.is_open = False
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.is_open = True

    def connection_lost(self, _: Exception | None) -> None:
        self.is_open = False
        self._settle(0)

    def send(self, request: bytes) -> "asyncio.Future[int]":
        self._received, self.answer = b"", asyncio.get_running_loop().create_future()
        self.transport.write(request)  # type: ignore[attr-defined]
        return self.answer

    def data_received(self, received: bytes) -> None:
        self._received += received
        head, found, rest = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(rest) >= length:
            self._settle(int(head[9:12]))
            if b"connection: close" in lines:
                self.is_open = False
                self.transport.close()

    def _settle(self, status: int) -> None:
        if self.answer is not None and not self.answer.done():
            self.answer.set_result(status)


class Generator:
    def __init__(self, url: str, content_type: str, body: bytes, patience_s: float) -> None:
        place = urlsplit(url)
        self._address = (place.hostname or "127.0.0.1", place.port or 80)
        head = f"POST {place.path} HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Type: {content_type}\r\n"
        self._request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        self._patience_s = patience_s
        self._idle: list[Connection] = []
        self.seconds: dict[int, list[float]] = {}  # by status; 0 is a lost connection
        self.num_late = 0

    async def run(self, rate: float, seconds: float) -> None:
        """Send `rate` requests a second at even distances, then wait for the last ones."""
        began, sent, calls = time.perf_counter(), 0, set[asyncio.Task[None]]()
        while (now := time.perf_counter() - began) < seconds:
            while sent < now * rate:
                call = asyncio.create_task(self._call(began + sent / rate))
                calls.add(call)
                call.add_done_callback(calls.discard)
                sent += 1
            await asyncio.sleep(0.001)
        if calls:
            await asyncio.wait(calls)

    async def _call(self, due: float) -> None:
        connection = None
        try:
            async with asyncio.timeout(self._patience_s):
                connection = await self._connection()
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

    async def _connection(self) -> Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
        _, fresh = await asyncio.get_running_loop().create_connection(Connection, *self._address)
        return fresh


def told(generator: Generator, seconds: float) -> dict[str, object]:
    """What came of it; times in milliseconds."""
    good, refused = generator.seconds.get(200, []), generator.seconds.get(503, [])
    statuses = Counter({str(status): len(times) for status, times in generator.seconds.items()})
    return {
        "good_a_second": len(good) / seconds,
        "good_p50_ms": percentile(good, 0.5) * 1e3 if good else None,
        "good_p99_ms": percentile(good, 0.99) * 1e3 if good else None,
        "refused_p50_ms": percentile(refused, 0.5) * 1e3 if refused else None,
        "refused_p99_ms": percentile(refused, 0.99) * 1e3 if refused else None,
        "timeouts": generator.num_late,
        "statuses": dict(statuses),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("body", type=Path)
    parser.add_argument("content_type")
    parser.add_argument("--rate", type=float, required=True, help="requests a second")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--patience", type=float, default=10, help="seconds after which a caller gives up")
    asked = parser.parse_args()
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)
    generator = Generator(asked.url, asked.content_type, asked.body.read_bytes(), asked.patience)
    uvloop.run(generator.run(asked.rate, asked.seconds))
    print(json.dumps(told(generator, asked.seconds)))


if __name__ == "__main__":
    main()
