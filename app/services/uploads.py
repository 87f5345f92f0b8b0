"""Writes the body of an upload to a temporary file."""

import errno
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from app.services.upload_threads import run_sync
from core.errors import StorageFull
from core.storage import Storage

_BUFFER_BYTES = 2**20
_DISK_FULL_ERRNOS = {errno.ENOSPC, errno.EDQUOT}


@asynccontextmanager
async def save_upload(storage: Storage, chunks: AsyncIterator[bytes]) -> AsyncIterator[Path]:
    """Write an upload to a temporary file. The file is deleted when the context ends or the client disconnects.

    Raises:
        StorageFull: the storage has no space left.
    """
    scratch = await run_sync(storage.create_scratch_folder)
    try:
        path = scratch / "upload"
        await _write_chunks(path, chunks)
        yield path
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


async def _write_chunks(path: Path, chunks: AsyncIterator[bytes]) -> None:
    buffer = bytearray()
    with path.open("xb", buffering=0) as file:
        try:
            async for chunk in chunks:
                buffer += chunk
                if len(buffer) >= _BUFFER_BYTES:
                    await run_sync(file.write, bytes(buffer))
                    buffer.clear()
            await run_sync(file.write, bytes(buffer))
        except OSError as error:
            if error.errno not in _DISK_FULL_ERRNOS:
                raise
            raise StorageFull("The storage has no space left for this upload.") from error
