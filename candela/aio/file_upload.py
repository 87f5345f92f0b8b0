"""Sends a file as the body of one request."""

from collections.abc import AsyncGenerator, Mapping
from pathlib import Path
from typing import IO, Any

from candela.aio.concurrency import run_blocking
from candela.aio.transport import AsyncTransport
from candela.media_types import get_media_type
from candela.types import ProgressCallback

CHUNK_BYTES = 256 * 1024


async def post_file(
    transport: AsyncTransport, path: str, file: Path, params: Mapping[str, Any], progress: ProgressCallback
) -> Any:  # noqa: ANN401 - JSON
    """Send a file and return the decoded JSON of the response."""
    size_bytes = file.stat().st_size
    headers = {"Content-Type": get_media_type(file), "Content-Length": str(size_bytes)}
    with await run_blocking(file.open, "rb") as opened:
        content = _read_chunks(opened, size_bytes, progress)
        # Not repeatable: the request creates something, and a partly read file cannot be sent again.
        return await transport.request_json(
            "POST", path, content=content, headers=headers, params=dict(params), repeatable=False
        )


async def _read_chunks(file: IO[bytes], size_bytes: int, progress: ProgressCallback) -> AsyncGenerator[bytes, None]:
    sent = 0
    while chunk := await run_blocking(file.read, CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        progress(sent, size_bytes)
