"""Creates, continues and deletes resumable uploads."""

from collections.abc import AsyncIterator
from typing import Any, NamedTuple

from app.services.datasets import check_new_name
from app.services.upload_completion import UploadCompletion
from app.services.upload_threads import run_sync
from app.services.upload_writer import LEASE_S, PARTS, Checksum, UploadWriter
from core.db.repos.uploads import OpenUploadLimits, UploadRepo
from core.db.session import SessionFactory, transaction
from core.db.upload_tables import UploadRow
from core.errors import OffsetMismatch, ServiceError, TooLarge, UploadGone, UploadLocked
from core.jobs import UploadState
from core.storage import Storage
from core.storage.deletion import delete_stored_files


class NewUpload(NamedTuple):
    """A file that a client wants to upload.

    Attributes:
        dataset: name of the dataset that gets a new version.
        length_bytes: size of the file.
        options: options of the import, as `DatasetService.accept_upload` takes them.
        metadata_header: the value of `Upload-Metadata`, which is returned with the upload.
    """

    dataset: str
    length_bytes: int
    options: dict[str, Any]
    metadata_header: str


class ResumableUploadService:
    """Manages resumable uploads. An owner is a hash of an API key; uploads of others do not exist for an owner.

    Args:
        sessions: creates database sessions.
        storage: stores the received parts.
        completion: creates dataset versions from complete uploads.
        max_bytes: maximum size of a file.
        limits: limits of the unfinished uploads of one owner.
        expiry_s: seconds without new bytes after which an upload expires.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        completion: UploadCompletion,
        *,
        max_bytes: int,
        limits: OpenUploadLimits,
        expiry_s: float,
    ) -> None:
        self._sessions, self._storage = sessions, storage
        self._completion = completion
        self.max_bytes = max_bytes
        self._limits, self._expiry_s = limits, expiry_s

    async def create_upload(self, owner: str, new: NewUpload) -> UploadRow:
        """Create an upload without bytes.

        Raises:
            TooLarge: the file is larger than allowed.
            Conflict: a built-in dataset has this name.
            TooManyUploads: the open uploads of the owner have reached a limit.
        """
        if new.length_bytes > self.max_bytes:
            raise TooLarge(
                f"Upload-Length: must be at most {self.max_bytes} bytes; got {new.length_bytes}.",
                limit_bytes=self.max_bytes,
            )
        check_new_name(new.dataset, "Upload-Metadata/dataset:")
        return await run_sync(self._add, owner, new)

    async def get_upload(self, owner: str, upload_id: str) -> UploadRow:
        """Return an upload. Raises NotFound."""
        return await run_sync(self._get, owner, upload_id)

    async def list_uploads(self, owner: str, cursor: str | None, limit: int) -> tuple[list[UploadRow], str | None]:
        """Return a page of the owner's uploads, newest first, and the cursor of the next page."""
        return await run_sync(self._list, owner, cursor, limit)

    async def append_chunk(
        self,
        owner: str,
        upload_id: str,
        offset: int,
        chunks: AsyncIterator[bytes],
        *,
        content_length: int | None,
        checksum: Checksum | None,
    ) -> UploadRow:
        """Append the bytes of a request's body at `offset`. After the last byte, create the dataset version.

        `content_length` is the announced size of the body; None if it is not announced.

        Raises:
            NotFound: the upload does not exist, has expired, or has another owner.
            OffsetMismatch: `offset` is not the number of received bytes.
            UploadLocked: another request sends bytes, or the complete file is being inspected.
            UploadGone: the inspection of the complete file has failed.
            TooLarge: the body has more bytes than the upload lacks.
            BodyInterrupted, ChecksumMismatch, StorageFull: see `UploadWriter.append`.
            InvalidArchive, Unavailable: see `UploadCompletion.complete`.
        """
        upload = await run_sync(self._claim, owner, upload_id, offset)
        remaining = upload.length_bytes - upload.received_bytes
        if upload.state is UploadState.SUCCEEDED and not content_length:
            return upload
        if content_length is not None and content_length > remaining:
            await run_sync(self._release, upload)
            raise TooLarge(
                f"The upload lacks {remaining} of its {upload.length_bytes} bytes; the body has {content_length}.",
                limit_bytes=remaining,
            )
        writer = UploadWriter(self._sessions, self._storage, upload, checksum=checksum, expiry_s=self._expiry_s)
        upload = await writer.append(chunks)
        return await self._completion.complete(upload) if upload.state is UploadState.INSPECTING else upload

    async def delete_upload(self, owner: str, upload_id: str) -> None:
        """Delete an upload and its bytes. A dataset version that was created from it remains. Raises NotFound."""
        await run_sync(self._delete, owner, upload_id)

    def _add(self, owner: str, new: NewUpload) -> UploadRow:
        with transaction(self._sessions) as session:
            return UploadRepo(session).add(
                owner,
                new.dataset,
                new.length_bytes,
                options=new.options,
                metadata_header=new.metadata_header,
                limits=self._limits,
                expiry_s=self._expiry_s,
            )

    def _get(self, owner: str, upload_id: str) -> UploadRow:
        with transaction(self._sessions, read_only=True) as session:
            return UploadRepo(session).get(upload_id, owner)

    def _list(self, owner: str, cursor: str | None, limit: int) -> tuple[list[UploadRow], str | None]:
        with transaction(self._sessions, read_only=True) as session:
            return UploadRepo(session).list_page(owner, cursor=cursor, limit=limit)

    def _claim(self, owner: str, upload_id: str, offset: int) -> UploadRow:
        """Return the claimed upload, or the finished upload if `offset` is its end."""
        with transaction(self._sessions) as session:
            uploads = UploadRepo(session)
            upload = uploads.get(upload_id, owner)
            claimed = uploads.claim(upload_id, offset, LEASE_S)
        if claimed is not None:
            return claimed
        if upload.state is UploadState.SUCCEEDED and upload.received_bytes == offset:
            return upload
        raise _build_claim_error(upload, offset)

    def _release(self, upload: UploadRow) -> None:
        if upload.state is UploadState.RECEIVING:
            with transaction(self._sessions) as session:
                UploadRepo(session).renew_lease(upload.id, upload.token, 0.0)

    def _delete(self, owner: str, upload_id: str) -> None:
        with transaction(self._sessions) as session:
            uploads = UploadRepo(session)
            uploads.get(upload_id, owner)
            uploads.delete(upload_id)
        delete_stored_files(self._storage, [f"{PARTS}/{upload_id}"])


def _build_claim_error(upload: UploadRow, offset: int) -> ServiceError:
    """Return the reason why bytes at `offset` cannot be appended."""
    if upload.state is UploadState.FAILED:
        detail = (upload.problem or {}).get("detail", "")
        return UploadGone(f"The file was rejected: {detail} Create a new upload.", problem=upload.problem)
    if upload.received_bytes != offset:
        return OffsetMismatch(
            f"Upload-Offset: must be {upload.received_bytes}, the number of received bytes; got {offset}.",
            offset=upload.received_bytes,
        )
    if upload.state is UploadState.INSPECTING:
        return UploadLocked("All bytes are received, and the file is being inspected.")
    return UploadLocked("Another request sends bytes of this upload; try again.")
