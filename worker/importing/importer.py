"""Runs one import: claims a dataset version, packs it, publishes its files and records the result in its row."""

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from core.datasets.archives.configured_limits import build_upload_limits
from core.datasets.image_preview import PREVIEW_FILE
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, on_commit, transaction
from core.db.tables import DatasetVersionRow
from core.errors import LostLease, ServiceError, StorageFull
from core.events import EventType
from core.failures import build_failure
from core.job_log import describe_failure
from core.settings import Settings
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from worker.importing.lease import ImportLease
from worker.importing.packer import run_packer
from worker.importing.process import ImportFailure, PackRequest, PackResult

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3


class _ClaimedImport(NamedTuple):
    """A dataset version that this worker has claimed. The claim is lost if the version's row has a newer `token`."""

    id: str
    name: str
    token: int
    attempt: int
    source: dict[str, Any]


class Importer:
    """Runs the imports of a worker.

    Args:
        owner: the worker's id, which is stored in the rows of the versions that the worker claims.
        wake_relay: called after a commit with a new outbox row, to wake this process's outbox relay. Default: a no-op.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionFactory,
        storage: Storage,
        *,
        owner: str,
        wake_relay: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._owner = owner
        self._wake_relay = wake_relay

    def run(self, version_id: str) -> bool:
        """Import the version. Return False if it cannot be claimed, or if the lease is lost during the import."""
        claimed = self._claim_version(version_id)
        if claimed is None:
            log.info("import.not_claimed", dataset_version_id=version_id)
            return False
        with structlog.contextvars.bound_contextvars(dataset_version_id=claimed.id, dataset=claimed.name):
            return self._import_version(claimed)

    def _import_version(self, claimed: _ClaimedImport) -> bool:
        started_at = time.monotonic()
        scratch = self._storage.create_scratch_folder()
        try:
            is_over_limit = claimed.attempt > MAX_ATTEMPTS
            result = _build_retry_limit_result() if is_over_limit else self._pack_dataset(claimed, scratch)
            state = self._record_result(claimed, scratch, result)
        except LostLease:
            log.warning("import.lease_lost", token=claimed.token)
            return False
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        log.info("import.finished", state=state, seconds=round(time.monotonic() - started_at, 3))
        return True

    def _claim_version(self, version_id: str) -> _ClaimedImport | None:
        with transaction(self._sessions) as session:
            row: DatasetVersionRow | None = DatasetRepo(session).claim(version_id, self._owner, self._settings.lease_s)
            return _ClaimedImport(row.id, row.name, row.token, row.attempt, dict(row.source)) if row else None

    # ---- packing

    def _pack_dataset(self, claimed: _ClaimedImport, scratch: Path) -> PackResult:
        lease = ImportLease(
            self._sessions,
            claimed.id,
            claimed.token,
            lease_s=self._settings.lease_s,
            heartbeat_s=self._settings.heartbeat_s,
        )
        try:
            request = self._build_request(claimed, scratch)
        except ServiceError as error:
            is_edit = claimed.source["kind"] == "edit"
            code = "base_version_lost" if is_edit else "upload_lost"
            hint = "Edit another version, or upload the dataset again." if is_edit else "Upload the dataset again."
            return PackResult(failure=ImportFailure(code=code, message=error.detail, hint=hint))
        return run_packer(
            request,
            scratch,
            lease.renew_if_due,
            max_s=self._settings.max_import_s,
            extra_variables=self._settings.child_variables,
        )

    def _build_request(self, claimed: _ClaimedImport, scratch: Path) -> PackRequest:
        is_upload = claimed.source["kind"] == "upload"
        return PackRequest(
            out=scratch / "packed",
            options=claimed.source["options"],
            archive=self._storage.fetch_file(claimed.source["key"]) if is_upload else None,
            base=self._fetch_base(claimed.source) if claimed.source["kind"] == "edit" else None,
            operations=claimed.source.get("operations", []),
            is_table=claimed.source.get("archive") == "table",
            name=claimed.name,
            datasets_dir=self._settings.datasets_dir,
            limits=build_upload_limits(self._settings),
        )

    def _fetch_base(self, source: Mapping[str, Any]) -> Path:
        """Return the folder with the packed files of the version that an import edits.

        Raises:
            NotFound: the version was deleted.
            CorruptFile: a file is missing or damaged.
        """
        with transaction(self._sessions, read_only=True) as session:
            base = DatasetRepo(session).get(source["base"]["id"])
            key, files = base.packed_key or "", (base.meta or {})["files"]
        return self._storage.fetch(key, {name: file["sha256"] for name, file in files.items() if name != PREVIEW_FILE})

    # ---- recording the result

    def _record_result(self, claimed: _ClaimedImport, scratch: Path, result: PackResult) -> str:
        if result.failure is None:
            key = f"datasets/{claimed.id}/t{claimed.token}"
            try:
                self._storage.publish(scratch / "packed", key)
            except StorageFull as error:
                hint = "Free disk space, then import the dataset again."
                disk_full = ImportFailure(code="disk_full", message=error.detail, hint=hint)
                result = PackResult(failure=disk_full, report=result.report)
            else:
                self._record_success(claimed, result, key)
                return "ready"
        self._record_failure(claimed, result)
        return "failed"

    def _record_success(self, claimed: _ClaimedImport, result: PackResult, key: str) -> None:
        meta = result.model_dump(mode="json")["meta"] | {"files": result.files}
        try:
            with transaction(self._sessions) as session:
                repo = DatasetRepo(session)
                repo.finish(claimed.id, claimed.token, meta=meta, report=result.report or {}, packed_key=key)
                for job_id in JobRepo(session).list_waiting_ids(claimed.id):
                    OutboxRepo(session).add("train", job_id)
                    text = f"The dataset {claimed.name} was imported; the job waits for a worker."
                    EventRepo(session).append(job_id, [(EventType.LOG, {"level": "info", "message": text})])
                on_commit(session, self._wake_relay)
        except LostLease:
            self._storage.delete(key)
            raise
        self._delete_upload(claimed)

    def _record_failure(self, claimed: _ClaimedImport, result: PackResult) -> None:
        cause = result.model_dump(mode="json")["failure"]
        log.warning("import.failed", code=cause["code"], message=cause["message"])
        with transaction(self._sessions) as session:
            DatasetRepo(session).fail(claimed.id, claimed.token, cause, result.report)
            failure = _build_dependency_failure(claimed, cause)
            text = " ".join(describe_failure(failure).split())
            for job_id in JobRepo(session).list_waiting_ids(claimed.id):
                EventRepo(session).append(job_id, [(EventType.LOG, {"level": "error", "message": text})])
            JobRepo(session).fail_waiting_jobs(claimed.id, failure)
        self._delete_upload(claimed)

    def _delete_upload(self, claimed: _ClaimedImport) -> None:
        if claimed.source["kind"] == "upload":
            delete_stored_files(self._storage, [claimed.source["key"]])


def _build_retry_limit_result() -> PackResult:
    return PackResult(
        failure=ImportFailure(
            code="worker_lost",
            message=f"The worker was lost in each of {MAX_ATTEMPTS} attempts; the retry limit is reached.",
            hint="Check the worker's memory, then import the dataset again.",
        )
    )


def _build_dependency_failure(claimed: _ClaimedImport, cause: dict[str, Any]) -> dict[str, Any]:
    return build_failure(
        "dependency_failed",
        f"The dataset {claimed.name} could not be imported: {cause['message']}",
        cause["hint"],
        {"dataset": {"name": claimed.name, "code": cause["code"]}},
    )
