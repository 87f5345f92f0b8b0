"""Creates dataset versions from complete resumable uploads."""

import asyncio
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from app.services.datasets import DatasetService
from app.services.upload_threads import run_inspection, run_sync
from app.services.upload_writer import PARTS, open_part_file
from core.datasets.archives.budget import InspectionCancelled
from core.db.repos.uploads import UploadPart, UploadRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.db.upload_tables import UploadRow
from core.errors import (
    Conflict,
    CorruptFile,
    InvalidSpec,
    LostLease,
    NotReady,
    Overloaded,
    ServiceError,
    StorageFull,
    Unavailable,
    UploadLocked,
)
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from core.storage.files import translate_disk_errors

log = structlog.get_logger(__name__)
LEASE_S = 30.0
RENEW_S = 10.0
MAX_RESUMED = 10
METADATA = "Upload-Metadata"
_COPY_BYTES = 2**20
_TEMPORARY = (Unavailable, StorageFull, NotReady, Overloaded)


class UploadCompletion:
    """Inspects the file of a complete upload as any other uploaded file, and creates the dataset version once.

    A process that inspects an upload holds its lease. If the process ends, `resume_inspections` of any API process
    starts the inspection again. The dataset version and the state of the upload are stored in one transaction, which
    fails if another process has claimed the upload since.

    Args:
        sessions: creates database sessions.
        storage: contains the parts, and receives the file.
        build_datasets: returns a dataset service that uses an open session.
        expiry_s: seconds for which the result of an upload can be read.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        build_datasets: Callable[[Session], DatasetService],
        expiry_s: float,
    ) -> None:
        self._sessions, self._storage = sessions, storage
        self._build_datasets = build_datasets
        self._expiry_s = expiry_s

    async def complete(self, upload: UploadRow) -> UploadRow:
        """Create the dataset version of a complete upload whose lease the caller holds. Return the upload.

        A client that leaves does not stop this: it finds the result in the upload.

        Raises:
            InvalidArchive: the file is not a valid archive or table. This error is stored in the upload, too.
            Unavailable, StorageFull: the inspection is tried again when the lease has expired.
            UploadLocked: another process has claimed the upload, or the client deleted it.
        """
        try:
            async with self._keep_lease(upload):
                await run_inspection(partial(self._create_version, upload), _wait_for_stop())
        except LostLease:
            raise UploadLocked("The upload was deleted, or another process inspects it.") from None
        except asyncio.CancelledError:  # the process stops
            with suppress(LostLease, SQLAlchemyError):
                await run_sync(self._renew_lease, upload, 0.0)
            raise
        return await run_sync(self._find, upload)

    async def resume_inspections(self) -> None:
        """Inspect the complete uploads whose processes have ended."""
        for upload_id in await run_sync(self._find_unclaimed):
            upload = await run_sync(self._claim, upload_id)
            if upload is None:
                continue
            log.info("upload.inspection_resumed", upload_id=upload_id)
            try:
                await self.complete(upload)
            except (ServiceError, InspectionCancelled) as error:
                log.warning("upload.inspection_failed", upload_id=upload_id, error=str(error))

    @asynccontextmanager
    async def _keep_lease(self, upload: UploadRow) -> AsyncIterator[None]:
        """Renew the lease until the context ends."""
        await run_sync(self._renew_lease, upload, LEASE_S)
        renewals = asyncio.create_task(self._renew_periodically(upload), name="upload lease")
        try:
            yield
        finally:
            renewals.cancel()
            await asyncio.gather(renewals, return_exceptions=True)

    async def _renew_periodically(self, upload: UploadRow) -> None:
        while True:
            await asyncio.sleep(RENEW_S)
            with suppress(SQLAlchemyError):
                await run_sync(self._renew_lease, upload, LEASE_S)

    def _renew_lease(self, upload: UploadRow, lease_s: float) -> None:
        with transaction(self._sessions) as session:
            UploadRepo(session).renew_lease(upload.id, upload.token, lease_s)

    def _find_unclaimed(self) -> list[str]:
        with transaction(self._sessions, read_only=True) as session:
            return UploadRepo(session).find_unclaimed_inspections(MAX_RESUMED)

    def _claim(self, upload_id: str) -> UploadRow | None:
        with transaction(self._sessions) as session:
            return UploadRepo(session).claim_inspection(upload_id, LEASE_S)

    def _find(self, upload: UploadRow) -> UploadRow:
        with transaction(self._sessions, read_only=True) as session:
            return UploadRepo(session).find(upload.id) or upload

    def _create_version(self, upload: UploadRow, *, is_cancelled: Callable[[], bool]) -> None:
        scratch = self._storage.create_scratch_folder()
        try:
            file = scratch / "upload"
            with translate_disk_errors():
                self._join_parts(upload, file, is_cancelled)
            self._store_version(upload, file, is_cancelled)
        except _TEMPORARY:
            raise
        except (InvalidSpec, Conflict, CorruptFile) as error:
            _name_metadata(error)
            with transaction(self._sessions) as session:
                UploadRepo(session).fail(upload.id, upload.token, _describe_problem(error), expiry_s=self._expiry_s)
            delete_stored_files(self._storage, [f"{PARTS}/{upload.id}"])
            raise
        finally:
            shutil.rmtree(scratch, ignore_errors=True)

    def _join_parts(self, upload: UploadRow, target: Path, is_cancelled: Callable[[], bool]) -> None:
        with transaction(self._sessions, read_only=True) as session:
            parts = UploadRepo(session).list_parts(upload.id)
        with target.open("xb") as out:
            for part in parts:
                if is_cancelled():
                    raise InspectionCancelled
                _require_position(out.tell(), part)
                with open_part_file(self._storage, part) as file:
                    shutil.copyfileobj(file, out, _COPY_BYTES)
            if out.tell() != upload.length_bytes:
                raise CorruptFile(f"{out.tell()} of {upload.length_bytes} bytes are stored; upload the file again.")

    def _store_version(self, upload: UploadRow, file: Path, is_cancelled: Callable[[], bool]) -> None:
        version: DatasetVersionRow | None = None
        try:
            with transaction(self._sessions) as session:
                datasets = self._build_datasets(session)
                version = datasets.accept_upload(upload.dataset, file, upload.options, is_cancelled=is_cancelled)
                UploadRepo(session).finish(upload.id, upload.token, version=version.version, expiry_s=self._expiry_s)
        except LostLease:
            if version is not None:
                delete_stored_files(self._storage, [version.source["key"]])
            raise
        delete_stored_files(self._storage, [f"{PARTS}/{upload.id}"])
        log.info("upload.completed", upload_id=upload.id, dataset=upload.dataset, version=version.version)


async def _wait_for_stop() -> None:
    await asyncio.Event().wait()


def _require_position(position: int, part: UploadPart) -> None:
    if position != part.start_byte:
        raise CorruptFile(f"The stored bytes from {position} are missing; upload the file again.")


def _name_metadata(error: ServiceError) -> None:
    """Change pointers from query parameters (`?target`) to keys of `Upload-Metadata`."""
    if isinstance(error, InvalidSpec):
        error.errors = [(_replace_prefix(pointer), reason) for pointer, reason in error.errors]
    error.detail = _replace_prefix(error.detail)


def _replace_prefix(text: str) -> str:
    return f"{METADATA}/{text[1:]}" if text.startswith("?") else text


def _describe_problem(error: ServiceError) -> dict[str, Any]:
    pairs = error.errors if isinstance(error, InvalidSpec) else []
    return {
        "slug": error.slug,
        "title": error.title,
        "detail": error.detail,
        "errors": [{"pointer": pointer, "detail": reason} for pointer, reason in pairs],
        "facts": error.extra,
    }
