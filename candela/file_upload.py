# Generated from candela/aio/file_upload.py by `make sdk`. Edit that file.
"""Sends a file as the body of one request."""

from collections.abc import Generator, Mapping
from pathlib import Path
from typing import IO, Any

from candela.concurrency import run_blocking
from candela.media_types import get_media_type
from candela.transport import Transport
from candela.types import ProgressCallback

CHUNK_BYTES = 256 * 1024


def post_file(
    transport: Transport, path: str, file: Path, params: Mapping[str, Any], progress: ProgressCallback
) -> Any:  # noqa: ANN401 - JSON
    """Send a file and return the decoded JSON of the response."""
    size_bytes = file.stat().st_size
    headers = {"Content-Type": get_media_type(file), "Content-Length": str(size_bytes)}
    with run_blocking(file.open, "rb") as opened:
        content = _read_chunks(opened, size_bytes, progress)
        # Not repeatable: the request creates something, and a partly read file cannot be sent again.
        return transport.request_json(
            "POST", path, content=content, headers=headers, params=dict(params), repeatable=False
        )


def _read_chunks(file: IO[bytes], size_bytes: int, progress: ProgressCallback) -> Generator[bytes, None]:
    sent = 0
    while chunk := run_blocking(file.read, CHUNK_BYTES):
        yield chunk
        sent += len(chunk)
        progress(sent, size_bytes)
