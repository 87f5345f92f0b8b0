"""The response with an export: a zip archive that is encoded in threads while it is sent."""

from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from anyio import CapacityLimiter, WouldBlock
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.http.header_values import build_attachment
from core.errors import Overloaded

MAX_EXPORTS = 4  # at once in a process: the names of all samples of a dataset are in memory
_exports: RunVar[CapacityLimiter] = RunVar("dataset_exports")


class ExportResponse(StreamingResponse):
    """A zip archive. If the client disconnects, no further chunk is encoded."""

    def __init__(
        self,
        chunks: Iterator[bytes],
        first: bytes,
        file_name: str,
        threads: CapacityLimiter,
        on_end: Callable[[], None],
    ) -> None:
        """`on_end` is called when the response has been sent, or the client has disconnected."""
        headers = {"Content-Disposition": build_attachment(file_name)}
        super().__init__(self._iterate_chunks(first), media_type="application/zip", headers=headers)
        self._chunks, self._threads, self._on_end = chunks, threads, on_end

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._on_end()

    async def _iterate_chunks(self, first: bytes) -> AsyncIterator[bytes]:
        chunk: bytes | None = first
        while chunk is not None:
            yield chunk
            chunk = await run_sync(next, self._chunks, None, limiter=self._threads)


async def start_export(
    build_chunks: Callable[[], Iterator[bytes]], file_name: str, threads: CapacityLimiter
) -> ExportResponse:
    """Encode the first chunk of an export in a thread, and return the response.

    Args:
        build_chunks: returns the iterator of the chunks. Its errors, and those of the first chunk, are raised.
        file_name: the name of the file that the client stores.
        threads: limits the threads that encode chunks.

    Raises:
        Overloaded: this process already sends `MAX_EXPORTS` exports.
    """
    slots = _exports.get(None)
    if slots is None:
        slots = CapacityLimiter(MAX_EXPORTS)
        _exports.set(slots)
    borrower = object()
    try:
        slots.acquire_on_behalf_of_nowait(borrower)
    except WouldBlock:
        raise Overloaded(f"{MAX_EXPORTS} exports are being sent; try again later.", max_exports=MAX_EXPORTS) from None
    try:
        chunks = await run_sync(build_chunks, limiter=threads)
        first = await run_sync(next, chunks, b"", limiter=threads)
        return ExportResponse(chunks, first, file_name, threads, partial(slots.release_on_behalf_of, borrower))
    except BaseException:
        slots.release_on_behalf_of(borrower)
        raise
