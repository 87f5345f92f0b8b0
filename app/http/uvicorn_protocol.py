"""A uvicorn protocol that writes the head and the body of a response with one system call."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from app.http.limited_protocol import LimitedHttpProtocol


class CoalescingTransport:
    """A transport that buffers one write until the next write or the next iteration of the event loop.

    uvicorn writes the head and the body of a response separately. Each write is a system call and may wake up the
    client, so this transport combines the two writes.
    """

    def __init__(
        self,
        transport: asyncio.Transport,
        loop: asyncio.AbstractEventLoop,
        start_lingering: Callable[[], bool] = lambda: False,
    ) -> None:
        self._transport = transport
        self._loop = loop
        self._start_lingering = start_lingering
        self._buffer = b""

    def write(self, chunk: bytes) -> None:
        if self._buffer:
            buffered, self._buffer = self._buffer, b""
            self._transport.write(buffered + chunk)
        elif chunk:
            self._buffer = chunk
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        if not self._start_lingering():
            self._transport.close()

    def write_eof(self) -> None:
        self._flush()
        self._transport.write_eof()

    def _flush(self) -> None:
        buffered, self._buffer = self._buffer, b""
        if buffered and not self._transport.is_closing():  # the client may have disconnected
            self._transport.write(buffered)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - delegates all other attributes to the transport
        return getattr(self._transport, name)


class CoalescingHttpProtocol(LimitedHttpProtocol):
    """uvicorn's HTTP protocol with limits and a `CoalescingTransport`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        wrapped = CoalescingTransport(transport, self.loop, self.start_lingering)
        super().connection_made(cast("asyncio.Transport", wrapped))
