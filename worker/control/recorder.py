"""What an attempt leaves behind: rows that carry its token, files before the rows that make them real."""

import json
import shutil
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core.db.repos.artifacts import ArtifactRepo
from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import WEIGHTS, CheckpointRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import result_key
from core.db.repos.metrics import MetricPoint, MetricRepo
from core.db.repos.models import ModelRepo
from core.db.repos.variants import VariantRepo
from core.db.session import SessionFactory, is_unavailable, on_commit, transaction
from core.db.tables import JobRow, ModelVariantRow, ModelVersionRow
from core.errors import Conflict, LostLease, StorageFull, Unavailable
from core.events import EventType
from core.storage import Storage
from worker.protocol import Answered, Artifact, Checkpoint, Finished, Metrics, Point, StoredFile

log = structlog.get_logger()
T = TypeVar("T")
RESERVE_BYTES = 32 * 2**20  # of a disk: for logs, the database and whoever else writes there
_RETRY_S = 0.2
_MAX_TEXT = 8192
_Told = list[tuple[EventType, dict[str, Any]]]


class Recorder:
    """Every method is one fenced transaction, tried again while the database is away and the lease lasts.

    They raise LostLease when the attempt does not hold the job any more.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        storage: Storage,
        job: JobRow,
        is_lost: Callable[[], bool],
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._sessions, self._storage, self._job = sessions, storage, job
        self._is_lost, self._sleep = is_lost, sleep
        self._points: list[Point] = []
        self._newest: Metrics | None = None
        self._latest: dict[str, float | str] = {}

    def write(self, action: Callable[[Session], T]) -> T:
        """Do `action` in one transaction."""
        while True:
            try:
                with transaction(self._sessions) as session:
                    return action(session)
            except SQLAlchemyError as error:
                if not is_unavailable(error):
                    raise
                log.warning("recorder.database_away", job_id=self._job.id, error=str(error))
            if self._is_lost():
                raise LostLease("The lease ran out while the database was away.")
            self._sleep(_RETRY_S)

    def describe(self, runtime: dict[str, Any]) -> None:
        """What the trainer resolved."""
        self.write(
            lambda session: AttemptRepo(session).describe(self._job.id, self._job.token, strip_unstorable(runtime))
        )

    def buffer(self, metrics: Metrics) -> None:
        """Keep points for the next flush."""
        self._points.extend(metrics.points)
        self._latest |= metrics.latest
        self._newest = metrics

    @property
    def has_unwritten(self) -> bool:
        return self._newest is not None

    def flush(self) -> None:
        """Write the kept points, the progress, and one event of them all."""
        if self._newest is None:
            return
        progress = self._newest.progress.model_dump()
        points, latest = [_row_of(point) for point in self._points], self._latest
        facts = {"step": progress["step"], "epoch": progress["epoch"], "metrics": latest, "progress": progress}
        told: _Told = [(EventType.METRICS, facts)]

        def action(session: Session) -> None:
            AttemptRepo(session).set_progress(self._job.id, self._job.token, progress, latest)
            MetricRepo(session).upsert(self._job.id, points)
            EventRepo(session).append(self._job.id, told)

        self.write(action)
        self._points, self._latest, self._newest = [], {}, None

    def log(self, level: str, message: str) -> None:
        """Keep a line of the job's log."""
        payload = {"level": level, "message": strip_unstorable(message[:_MAX_TEXT])}

        def action(session: Session) -> None:
            AttemptRepo(session).check_lease(self._job.id, self._job.token)
            EventRepo(session).append(self._job.id, [(EventType.LOG, payload)])

        self.write(action)

    def warn(self, message: str) -> None:
        """Keep a warning with the job, and in its log."""
        self.write(lambda session: AttemptRepo(session).warn(self._job.id, self._job.token, message))
        self.log("warning", message)

    def checkpoint(self, said: Checkpoint) -> None:
        """Store a snapshot, make it real, and let go of those that need not be kept.

        Raises:
            StorageFull: no space is left, and none could be made.
        """
        number = self.write(lambda session: CheckpointRepo(session).next_number(self._job.id))
        key = f"jobs/{self._job.id}/t{self._job.token}/checkpoints/{number}"
        try:
            self._publish(said.dir, key)
        except Conflict:  # a database that crashed may have lost a commit: it counts again from before
            key = f"{key}-{uuid.uuid4().hex[:8]}"
            self._publish(said.dir, key)
        payload = {"number": number, "epoch": said.epoch, "step": said.step, "tags": list(said.tags)}
        size = sum(file.size_bytes for file in said.files.values())
        has_room = self._storage.free_bytes() >= size + RESERVE_BYTES  # for the next one, which is about as large

        def action(session: Session) -> None:
            CheckpointRepo(session).add(
                self._job.id,
                self._job.token,
                number=number,
                epoch=said.epoch,
                step=said.step,
                metrics=said.metrics,
                tags=said.tags,
                key=key,
                files=_files(said.files),
                kept=None if said.kept is None else frozenset(said.kept),
            )
            EventRepo(session).append(self._job.id, [(EventType.CHECKPOINT, payload)])
            self._delete_surplus(session, num_kept=2 if has_room else 1)

        self.write(action)

    def artifact(self, said: Artifact) -> None:
        """Store a file that the job leaves, in the place of an earlier one of that name.

        Raises:
            StorageFull, Unavailable: it cannot be stored, and the job cannot do without.
        """
        key = f"jobs/{self._job.id}/t{self._job.token}/artifacts/{uuid.uuid4().hex}"
        try:
            self._storage.publish(Path(said.dir), key)
        except (StorageFull, Unavailable) as error:
            if not said.is_optional:
                raise
            shutil.rmtree(said.dir, ignore_errors=True)
            self.warn(f"The file {said.name!r} could not be stored: {error.detail}")
            return
        row = said.model_dump(include={"media_type", "sha256", "size_bytes"})

        def action(session: Session) -> None:
            before = ArtifactRepo(session).put(self._job.id, self._job.token, said.name, key=key, **row)
            if before is not None:
                on_commit(session, lambda: self._delete_files(before))

        self.write(action)

    def _publish(self, folder: str, key: str) -> None:
        """Store a folder; where no space is left, once more when room was made. Raises StorageFull, Conflict."""
        try:
            self._storage.publish(Path(folder), key)
        except StorageFull:
            if not self.free_space():
                raise
            self._storage.publish(Path(folder), key)

    def free_space(self) -> bool:
        """Delete what the job can do without: all checkpoints but the newest, the best and those that were asked for.

        Whether there was anything to delete, and a second try hence makes sense.
        """
        self._storage.sweep_scratch()
        return self.write(lambda session: self._delete_surplus(session, num_kept=1)) > 0

    def finish(self, said: Finished, dataset: dict[str, Any]) -> None:
        """Store the bundle; then, at once: the job succeeded, and its model has a new version."""
        key = f"jobs/{self._job.id}/t{self._job.token}/bundle"
        description = (Path(said.dir) / "bundle.json").read_text()
        self._publish(said.dir, key)
        self.write(lambda session: self._register(session, said, key, description, dataset))

    def complete(self, said: Answered) -> None:
        """The job succeeded, with a result and its files, and without a model."""
        told = strip_unstorable(said.result) | ({"files": _files(said.files)} if said.files else {})
        if said.dir is not None:
            self._storage.publish(Path(said.dir), result_key(self._job))

        def action(session: Session) -> None:
            if self._job.kind == "variant":
                VariantRepo(session).put(self._variant(said), self._job.token)
            AttemptRepo(session).complete(self._job.id, self._job.token, told, said.metrics)

        self.write(action)

    def fail(self, failure: dict[str, Any]) -> None:
        """The job failed for good."""
        failure = strip_unstorable(failure)
        self.write(lambda session: AttemptRepo(session).fail(self._job.id, self._job.token, failure))

    def mark_lost(self, failure: dict[str, Any], max_attempts: int) -> None:
        """The attempt came to nothing: back into the queue, or failed at the cap."""
        failure = strip_unstorable(failure)
        self.write(lambda session: AttemptRepo(session).mark_lost(self._job.id, self._job.token, failure, max_attempts))

    def release(self, reason: str) -> None:
        """The attempt ends as it was asked to."""
        self.write(lambda session: AttemptRepo(session).release(self._job.id, self._job.token, reason))

    def _register(self, session: Session, said: Finished, key: str, description: str, dataset: dict[str, Any]) -> None:
        files = _files(said.files)
        version = ModelVersionRow(
            name=self._job.model_name,
            job_id=self._job.id,
            key=key,
            files=files,
            sha256=files[WEIGHTS]["sha256"],
            size_bytes=sum(file["size_bytes"] for file in files.values()),
            bundle=json.loads(description),
            spec=self._job.spec,
            metrics=said.metrics,
            dataset=dataset,
            num_parameters=said.num_parameters,
        )
        version = ModelRepo(session).register(version, self._job.token)
        attempts = AttemptRepo(session)
        runtime = attempts.check_lease(self._job.id, self._job.token).runtime or {}
        attempts.describe(self._job.id, self._job.token, {**runtime, "evaluation": said.evaluation})
        attempts.finish(self._job.id, self._job.token, version.version, said.metrics, said.stop_reason)

    def _variant(self, said: Answered) -> ModelVariantRow:
        name, _, version = self._job.spec["model"].partition("@")
        return ModelVariantRow(
            name=name,
            version=int(version),
            format=self._job.spec["format"],
            job_id=self._job.id,
            key=result_key(self._job),
            files=_files(said.files),
            size_bytes=sum(file.size_bytes for file in said.files.values()),
            measured=strip_unstorable(said.result),
        )

    def _delete_surplus(self, session: Session, num_kept: int) -> int:
        repo = CheckpointRepo(session)
        surplus = repo.find_prunable(self._job.id, num_kept)
        for row in surplus:
            repo.delete(self._job.id, row.number)
            on_commit(session, lambda key=row.key: self._delete_files(key))  # type: ignore[misc]
        return len(surplus)

    def _delete_files(self, key: str) -> None:
        try:
            self._storage.delete(key)
        except (OSError, Unavailable) as error:  # nobody refers to them: the sweep tries again
            log.warning("recorder.delete_failed", key=key, error=str(error))


def strip_unstorable(words: Any) -> Any:  # noqa: ANN401 - any JSON value in, the same kind out
    """The same without what PostgreSQL cannot store: zero characters and lone surrogates."""
    match words:
        case str():
            return words.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
        case dict():
            return {strip_unstorable(key): strip_unstorable(value) for key, value in words.items()}
        case list() | tuple():
            return [strip_unstorable(value) for value in words]
        case _:
            return words


def _row_of(point: Point) -> MetricPoint:
    if isinstance(point.value, str):
        return MetricPoint(point.split, point.name, point.step, point.epoch, None, point.value)
    return MetricPoint(point.split, point.name, point.step, point.epoch, point.value)


def _files(files: Mapping[str, StoredFile]) -> dict[str, dict[str, Any]]:
    return {name: file.model_dump() for name, file in files.items()}
