"""A uvicorn protocol that writes the head and the body of a response with one system call."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class CoalescingTransport:
    """A transport that buffers one write until the next write or the next iteration of the event loop.

    uvicorn writes the head and the body of a response separately. Each write is a system call and may wake up the
    client, so this transport combines the two writes.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
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
        self._transport.close()

    def _flush(self) -> None:
        buffered, self._buffer = self._buffer, b""
        if buffered and not self._transport.is_closing():  # the client may have disconnected
            self._transport.write(buffered)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - delegates all other attributes to the transport
        return getattr(self._transport, name)


class CoalescingHttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with a `CoalescingTransport`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(cast("asyncio.Transport", CoalescingTransport(transport, self.loop)))
