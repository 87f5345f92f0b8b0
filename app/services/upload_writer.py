"""Appends the bytes of a request to a resumable upload, as parts in the storage.

A part is published (written, flushed to disk and given its name) before the database counts its bytes. Bytes that are
counted therefore survive the end of this process, and any process with the same storage can continue the upload.
"""

import base64
import hashlib
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

from anyio import CancelScope
from sqlalchemy.exc import SQLAlchemyError

from app.services.upload_threads import run_sync
from core.db.repos.uploads import UploadPart, UploadRepo
from core.db.session import SessionFactory, transaction
from core.db.upload_tables import UploadRow
from core.errors import ChecksumMismatch, CorruptFile, LostLease, NotFound, TooLarge, UploadLocked
from core.jobs import UploadState
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from core.storage.files import translate_disk_errors

PARTS = "upload-parts"
"""The storage folder of the parts. Each upload has a subfolder."""
PART_BYTES = 8 * 2**20
MIN_PART_BYTES = 2**20
"""The next request appends to a shorter part, so that many small requests do not create many parts."""
CHECKSUM_ALGORITHMS = ("sha256", "sha1")  # tus requires sha1
LEASE_S = 8.0
RENEW_AFTER_S = 2.0
_BUFFER_BYTES = 2**20


def open_part_file(storage: Storage, part: UploadPart) -> IO[bytes]:
    """Open a stored part.

    Raises:
        CorruptFile: the part is missing.
    """
    try:
        return storage.fetch_file(part.key).open("rb")
    except (NotFound, FileNotFoundError):
        raise CorruptFile(f"The stored bytes from {part.start_byte} are missing; upload the file again.") from None


class BodyInterrupted(Exception):
    """The connection ended before the body of the request was complete."""


class Checksum(NamedTuple):
    """The checksum of a chunk: one of `CHECKSUM_ALGORITHMS`, and the digest."""

    algorithm: str
    digest: bytes


class UploadWriter:
    """Appends one chunk to a claimed upload, and releases the claim.

    Without a checksum, the bytes of a chunk count as soon as they are stored, also if the connection ends before the
    chunk is complete. With a checksum, the bytes count once the whole chunk has been verified.

    Args:
        sessions: creates database sessions.
        storage: stores the parts.
        upload: the upload; its token holds the lease.
        checksum: the checksum of the chunk.
        expiry_s: seconds after the last byte until the upload expires.
        clock: a monotonic clock in seconds.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        upload: UploadRow,
        *,
        checksum: Checksum | None,
        expiry_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions, self._storage = sessions, storage
        self._upload, self._expiry_s = upload, expiry_s
        self._checksum = checksum
        self._hash = hashlib.new(checksum.algorithm, usedforsecurity=False) if checksum else None
        self._clock, self._renewed_at = clock, clock()
        self._buffer = bytearray()
        self._num_pending = 0  # bytes of this request that are not counted yet
        self._part: _PartFile | None = None

    async def append(self, chunks: AsyncIterator[bytes]) -> UploadRow:
        """Append the chunks of the request's body. Return the upload.

        Raises:
            BodyInterrupted: raised by `chunks`. Unless there is a checksum, the received bytes are stored first.
            TooLarge: the body has more bytes than the upload lacks.
            ChecksumMismatch: the body has another checksum.
            UploadLocked: no bytes arrived for `LEASE_S` seconds, and then another request claimed the upload.
            StorageFull: the storage has no space left.
        """
        try:
            await self._append_body(chunks)
        except LostLease:
            raise UploadLocked("Another request has continued this upload; ask for its offset.") from None
        finally:
            with CancelScope(shield=True):
                await run_sync(self._close)
        return self._upload

    async def _append_body(self, chunks: AsyncIterator[bytes]) -> None:
        try:
            async for chunk in chunks:
                await self._receive(chunk)
        except BodyInterrupted:
            if self._checksum is None:
                await self._store_part()
            raise
        await self._flush()
        self._verify_checksum()
        await self._store_part()

    async def _receive(self, chunk: bytes) -> None:
        self._num_pending += len(chunk)
        remaining = self._upload.length_bytes - self._upload.received_bytes
        if self._num_pending > remaining:
            raise TooLarge(
                f"Upload-Length is {self._upload.length_bytes} bytes; the body has more than the {remaining} bytes "
                "that are missing.",
                limit_bytes=remaining,
            )
        self._buffer += chunk
        if len(self._buffer) >= _BUFFER_BYTES:
            await self._flush()
        if self._checksum is None and self._part is not None and self._part.size_bytes >= PART_BYTES:
            await self._store_part()
        elif self._clock() - self._renewed_at > RENEW_AFTER_S:
            self._renewed_at = self._clock()
            await run_sync(self._renew_lease)

    async def _flush(self) -> None:
        """Write the buffer to the file of the current part."""
        if self._buffer:
            content = bytes(self._buffer)
            self._buffer.clear()
            await run_sync(self._write, content)

    async def _store_part(self) -> None:
        await self._flush()
        if self._part is not None:
            self._upload = await run_sync(self._publish_part, self._part)
            self._part, self._num_pending = None, 0
            self._renewed_at = self._clock()

    def _write(self, content: bytes) -> None:
        with translate_disk_errors():
            if self._part is None:
                self._part = self._open_part()
            self._part.file.write(content)
            self._part.size_bytes += len(content)
            if self._hash is not None:
                self._hash.update(content)

    def _open_part(self) -> "_PartFile":
        """Return the file of the next part. It starts with the content of the last part if that part is short."""
        with transaction(self._sessions, read_only=True) as session:
            last = UploadRepo(session).find_last_part(self._upload.id)
        part = _PartFile(self._storage.create_scratch_folder(), self._upload.received_bytes)
        if last is not None and last.size_bytes < MIN_PART_BYTES:
            try:
                with open_part_file(self._storage, last) as file:
                    shutil.copyfileobj(file, part.file)
            except BaseException:
                part.delete()
                raise
            part.start_byte, part.size_bytes, part.replaced_key = last.start_byte, last.size_bytes, last.key
        return part

    def _publish_part(self, part: "_PartFile") -> UploadRow:
        key = f"{PARTS}/{self._upload.id}/{uuid.uuid4().hex}"
        with translate_disk_errors():
            part.file.close()
            self._storage.publish_file(part.path, key)
        row = UploadPart(part.start_byte, part.size_bytes, key)
        try:
            with transaction(self._sessions) as session:
                upload = UploadRepo(session).add_part(
                    self._upload.id, self._upload.token, row, lease_s=LEASE_S, expiry_s=self._expiry_s
                )
        except LostLease:
            delete_stored_files(self._storage, [key])
            raise
        part.delete()
        if part.replaced_key:
            delete_stored_files(self._storage, [part.replaced_key])
        return upload

    def _verify_checksum(self) -> None:
        if self._checksum is None or self._hash is None or self._hash.digest() == self._checksum.digest:
            return
        sent, computed = (base64.b64encode(digest).decode() for digest in (self._checksum.digest, self._hash.digest()))
        raise ChecksumMismatch(
            f"Upload-Checksum: the {self._checksum.algorithm} of the received bytes is {computed}, not {sent}; send "
            f"the chunk again from offset {self._upload.received_bytes}.",
            offset=self._upload.received_bytes,
        )

    def _renew_lease(self) -> None:
        with transaction(self._sessions) as session:
            UploadRepo(session).renew_lease(self._upload.id, self._upload.token, LEASE_S)

    def _close(self) -> None:
        """Delete the file of an incomplete part, and release the lease unless the inspection needs it."""
        if self._part is not None:
            self._part.delete()
        if self._upload.state is UploadState.RECEIVING:
            with suppress(LostLease, SQLAlchemyError), transaction(self._sessions) as session:  # else it expires
                UploadRepo(session).renew_lease(self._upload.id, self._upload.token, 0.0)


class _PartFile:
    """The file of a part before it is published. `replaced_key` is the stored part that it starts with."""

    def __init__(self, folder: Path, start_byte: int) -> None:
        self._folder = folder
        self.path = folder / "part"
        self.file: IO[bytes] = self.path.open("xb")
        self.start_byte, self.size_bytes = start_byte, 0
        self.replaced_key: str | None = None

    def delete(self) -> None:
        self.file.close()
        shutil.rmtree(self._folder, ignore_errors=True)
