"""How answers leave: head and body in one packet, and those of one turn of the event loop one right after the other."""

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGE = 2**16  # bytes that are worth a packet of their own


class InOnePacket:
    """A transport that holds what is written until the event loop turns to something else.

    A write is a call of the kernel, and mostly one that wakes a client: a client that wakes for nothing but a head does
    so in vain, and many that wake while others still are being answered interrupt just that.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held = b""

    def write(self, piece: bytes) -> None:
        if not self._held:
            if piece:
                self._held = piece
                self._loop.call_soon(self._flush)
        elif len(self._held) + len(piece) < LARGE:
            self._held += piece
        else:
            held, self._held = self._held, b""
            self._transport.write(held)
            self._transport.write(piece)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def _flush(self) -> None:
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():  # the client may have left since
            self._transport.write(held)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - all else is the transport's own
        return getattr(self._transport, name)


class Protocol(HttpToolsProtocol):
    """uvicorn's own, whose answers leave in one packet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn declares it
        super().connection_made(cast("asyncio.Transport", InOnePacket(transport, self.loop)))
