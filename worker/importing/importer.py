"""One import from claim to finish: packs in a process of its own, publishes the files, then makes them real."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.datasets.archives.limits import limits_of
from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, is_unavailable, on_commit, transaction
from core.db.tables import DatasetVersionRow
from core.errors import LostLease, ServiceError, StorageFull, Unavailable
from core.failures import failure
from core.parent_death import die_with_parent
from core.settings import Settings
from core.storage import Storage
from worker.importing.process import Failure, PackRequest, PackResult

log = structlog.get_logger(__name__)

MAX_ATTEMPTS = 3
_POLL_S = 0.05
_REPOSITORY = Path(__file__).resolve().parents[2]


class _ClaimedImport(NamedTuple):
    """An import that is ours as long as the token is the row's."""

    id: str
    name: str
    token: int
    attempt: int
    source: dict[str, Any]


class Importer:
    """What all imports of a worker share.

    Args:
        owner: who claims, for people.
        kick: wakes the dispatcher where there is one in this process; called after a commit.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionFactory,
        storage: Storage,
        *,
        owner: str,
        kick: Callable[[], None] = lambda: None,
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._owner = owner
        self._kick = kick

    def run(self, version_id: str) -> bool:
        """Import that version, unless somebody else does or did; whether this call settled it."""
        held = self._claim(version_id)
        if held is None:
            log.info("import.not_claimed", dataset_version_id=version_id)
            return False
        with structlog.contextvars.bound_contextvars(dataset_version_id=held.id, dataset=held.name):
            return self._run(held)

    def _run(self, held: _ClaimedImport) -> bool:
        started = time.monotonic()
        scratch = self._storage.scratch()
        try:
            result = _too_often() if held.attempt > MAX_ATTEMPTS else self._pack(held, scratch)
            state = self._settle(held, scratch, result)
        except LostLease:
            log.warning("import.lost_lease", token=held.token)
            return False
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        log.info("import.finished", state=state, seconds=round(time.monotonic() - started, 3))
        return True

    def _claim(self, version_id: str) -> _ClaimedImport | None:
        with transaction(self._sessions) as session:
            row: DatasetVersionRow | None = DatasetRepo(session).claim(version_id, self._owner, self._settings.lease_s)
            return _ClaimedImport(row.id, row.name, row.token, row.attempt, dict(row.source)) if row else None

    # ---- the process that packs

    def _pack(self, held: _ClaimedImport, scratch: Path) -> PackResult:
        try:
            request = self._request(held, scratch)
        except ServiceError as error:
            return PackResult(failure=Failure(code="upload_lost", message=error.detail, hint="Upload it again."))
        with (scratch / "stderr").open("w+b") as stderr:
            process = subprocess.Popen(  # noqa: S603 - the command is ours
                die_with_parent([sys.executable, "-m", "worker.importing.process"]),
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=stderr,
                cwd=_REPOSITORY,
                start_new_session=True,
            )
            try:
                self._watch(process, held, request)
            finally:
                _kill(process)
        return _result(scratch, process.returncode)

    def _request(self, held: _ClaimedImport, scratch: Path) -> PackRequest:
        is_upload = held.source["kind"] == "upload"
        return PackRequest(
            out=scratch / "packed",
            options=held.source["options"],
            archive=self._storage.path(held.source["key"]) if is_upload else None,
            is_table=held.source.get("archive") == "table",
            name=held.name,
            datasets_dir=self._settings.datasets_dir,
            limits=limits_of(self._settings),
        )

    def _watch(self, process: "subprocess.Popen[bytes]", held: _ClaimedImport, request: PackRequest) -> None:
        """Renew the lease until the process ends. Raises LostLease when it cannot be renewed in time."""
        if process.stdin is None:
            raise RuntimeError("the packer has no stdin")
        try:
            process.stdin.write(request.model_dump_json().encode())
            process.stdin.close()
        except BrokenPipeError:
            log.warning("import.packer_gone")  # its exit status says the rest
        renewed = beat_at = time.monotonic()
        while process.poll() is None:
            time.sleep(_POLL_S)
            now = time.monotonic()
            if now - beat_at < self._settings.heartbeat_s:
                continue
            beat_at = now
            if self._beat(held):
                renewed = now
            elif now - renewed > self._settings.lease_s * 0.8:
                raise LostLease("The lease could not be renewed in time.")

    def _beat(self, held: _ClaimedImport) -> bool:
        try:
            with transaction(self._sessions) as session:
                DatasetRepo(session).renew_lease(held.id, held.token, self._settings.lease_s)
        except SQLAlchemyError as error:
            if not is_unavailable(error):
                raise
            log.warning("import.beat_failed", error=str(error))
            return False
        return True

    # ---- what comes of it

    def _settle(self, held: _ClaimedImport, scratch: Path, result: PackResult) -> str:
        if result.failure is None:
            key = f"datasets/{held.id}/t{held.token}"
            try:
                self._storage.publish(scratch / "packed", key)
            except StorageFull as error:
                full = Failure(code="disk_full", message=error.detail, hint="Free some space, then import it again.")
                result = PackResult(failure=full, report=result.report)
            else:
                self._finish(held, result, key)
                return "ready"
        self._fail(held, result)
        return "failed"

    def _finish(self, held: _ClaimedImport, result: PackResult, key: str) -> None:
        meta = result.model_dump(mode="json")["meta"] | {"files": result.files}
        try:
            with transaction(self._sessions) as session:
                repo = DatasetRepo(session)
                repo.finish(held.id, held.token, meta=meta, report=result.report or {}, packed_key=key)
                for job_id in JobRepo(session).waiting_for(held.id):
                    OutboxRepo(session).add("train", job_id)
                on_commit(session, self._kick)
        except LostLease:
            self._storage.delete(key)
            raise
        self._drop_upload(held)

    def _fail(self, held: _ClaimedImport, result: PackResult) -> None:
        why = result.model_dump(mode="json")["failure"]
        log.warning("import.failed", code=why["code"], message=why["message"])
        with transaction(self._sessions) as session:
            DatasetRepo(session).fail(held.id, held.token, why, result.report)
            JobRepo(session).fail_waiting(held.id, _dependency_failed(held, why))
        self._drop_upload(held)

    def _drop_upload(self, held: _ClaimedImport) -> None:
        if held.source["kind"] != "upload":
            return
        try:
            self._storage.delete(held.source["key"])
        except (OSError, Unavailable) as error:  # the version is settled; the sweep takes what is left
            log.warning("import.upload_left", error=str(error))


def _result(scratch: Path, status: int) -> PackResult:
    try:
        return PackResult.model_validate_json((scratch / "result.json").read_bytes())
    except (OSError, ValueError):
        said = (scratch / "stderr").read_text(errors="replace")[-4000:]
        log.exception("import.crashed", status=status, stderr=said)
        how = f"signal {signal.Signals(-status).name}" if status < 0 else f"status {status}"
        return PackResult(
            failure=Failure(
                code="import_crashed",
                message=f"The process that reads the pictures ended with {how}.",
                hint="One of the files may be made to break decoders, or memory ran out; see the worker's log.",
            )
        )


def _kill(process: "subprocess.Popen[bytes]") -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _too_often() -> PackResult:
    return PackResult(
        failure=Failure(
            code="worker_lost",
            message=f"The worker died in each of {MAX_ATTEMPTS} attempts.",
            hint="Look at the worker's memory; import it again when the cause is gone.",
        )
    )


def _dependency_failed(held: _ClaimedImport, why: dict[str, Any]) -> dict[str, Any]:
    return failure(
        "dependency_failed",
        f"The dataset {held.name} could not be imported: {why['message']}",
        why["hint"],
        {"dataset": {"name": held.name, "code": why["code"]}},
    )
