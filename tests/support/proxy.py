"""A TCP proxy that can delay, stall and cut connections. It runs in a thread on a free loopback port."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Literal

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """A proxy. Its attributes can be changed at any time, from any thread.

    Attributes:
        delay_s: delay before every chunk, in both directions.
        is_stalled: no data passes and no connection is closed, like a half-open connection.
        cut_up_after: total bytes from clients after which their connections are cut.
        cut_down_at: bytes from a client after which both sides are cut, so that the reply is lost.
    """

    def __init__(self, target: Path | tuple[str, int]) -> None:
        self._target = target
        self.port = 0
        self.delay_s = 0.0
        self.is_stalled = False
        self.cut_up_after: int | None = None
        self.cut_down_at: bytes | None = None
        self.num_cuts = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, ready: threading.Event, closed: asyncio.Event) -> None:
        server = await asyncio.start_server(self._connect, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        ready.set()
        await closed.wait()
        server.close()
        for writer in self._writers:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            up: Stream = (
                await asyncio.open_unix_connection(str(self._target))
                if isinstance(self._target, Path)
                else await asyncio.open_connection(*self._target)
            )
        except OSError:
            writer.close()
            return
        self._writers += [writer, up[1]]
        pair = (writer, up[1])
        await asyncio.gather(self._pump("up", reader, up[1], pair), self._pump("down", up[0], writer, pair))

    async def _pump(
        self,
        way: Literal["up", "down"],
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        pair: tuple[asyncio.StreamWriter, asyncio.StreamWriter],
    ) -> None:
        with suppress(OSError):
            while chunk := await source.read(65536):
                await asyncio.sleep(self.delay_s)
                while self.is_stalled:
                    await asyncio.sleep(0.02)
                if way == "up" and self._should_cut(chunk, sink):
                    break
                sink.write(chunk)
                await sink.drain()
        for writer in pair:
            with suppress(OSError, RuntimeError):
                writer.close()

    def _should_cut(self, chunk: bytes, sink: asyncio.StreamWriter) -> bool:
        if self.cut_up_after is not None:
            self.cut_up_after -= len(chunk)
            if self.cut_up_after <= 0:
                self.num_cuts += 1
                return True
        if self.cut_down_at is not None and self.cut_down_at in chunk:
            sink.write(chunk)  # the server receives it, the client gets no reply
            self.cut_down_at = None
            self.num_cuts += 1
            return True
        return False


@contextmanager
def run_proxy(target: Path | tuple[str, int]) -> Iterator[Proxy]:
    """Run a proxy for a unix socket or an address."""
    proxy, ready = Proxy(target), threading.Event()
    loop, closed = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(proxy.serve(ready, closed)), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield proxy
    finally:
        proxy.is_stalled = False
        loop.call_soon_threadsafe(closed.set)
        thread.join(10)
        for task in asyncio.all_tasks(loop):
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()
