"""What a client can do with jobs: submit, look, steer, delete. Results are read in `results.py`."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from pydantic import ValidationError
from sqlalchemy.orm import Session

from app.services.datasets import DatasetService
from app.services.validation import capacity, resume_from, training
from app.services.validation import resolve as kinds
from app.serving.backend import Architectures
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.placement import WorkerCapacity
from core.db.repos.workers import WorkerRepo
from core.db.session import on_commit
from core.db.tables import DatasetVersionRow, JobRow, WorkerRow
from core.errors import Conflict, IdempotencyMismatch, InvalidSpec, NotFound, Unavailable
from core.events import Event
from core.failures import failure
from core.jobs import DatasetState, JobState, StopRequest
from core.spec import ANY_JOB, AnyJobSpec
from core.spec.error_pointers import to_pointers
from core.storage import Storage

log = structlog.get_logger(__name__)
IMPORTING = DatasetState.IMPORTING


class JobView(NamedTuple):
    """A job with what its row alone does not say."""

    job: JobRow
    transitions: Sequence[Event]
    queue_position: int | None
    waits_for: DatasetVersionRow | None
    queue_reason: str | None = None


class JobService:
    """Every method is one step of the caller's transaction.

    Args:
        architectures: says what can be built.
        kick: wakes the dispatcher; called after the commit.
        worker_silence_s: a worker that was silent for longer does not count as living.
        traceparent: the trace in which a job is posted.
    """

    def __init__(
        self,
        session: Session,
        datasets: DatasetService,
        storage: Storage,
        architectures: Architectures,
        *,
        wake: Callable[[], None],
        worker_silence_s: float,
        traceparent: str | None = None,
    ) -> None:
        self._session = session
        self._datasets = datasets
        self._storage = storage
        self._architectures = architectures
        self._wake = wake
        self._worker_silence_s = worker_silence_s
        self._traceparent = traceparent
        self._jobs = JobRepo(session)

    def submit_job(
        self, spec: AnyJobSpec, *, idempotency_key: str | None = None, parent_id: str | None = None
    ) -> JobView:
        """Store a job and let it be queued; the same key and spec give the job that they gave before.

        Raises:
            InvalidSpec: it cannot be built as asked.
            DatasetNotReady: the import of its dataset failed.
            IdempotencyMismatch: the key came with another spec before.
        """
        if idempotency_key is None:
            return self._create_job(spec, parent_id)
        keys, digest = IdempotencyRepo(self._session), hash_spec(spec)
        existing = keys.find(idempotency_key)
        if existing is None:
            view = self._create_job(spec, parent_id)
            keys.add(idempotency_key, digest, view.job.id)
            return view
        if existing.request_hash != digest:
            raise IdempotencyMismatch(f"The key stood for job {existing.job_id}, asked for with another body.")
        return self.get_job(existing.job_id)

    def dry_run(self, spec: AnyJobSpec) -> training.ResolvedSpec:
        """What the job would be; nothing is stored."""
        return self._resolve_spec(spec, self._datasets.resolve_version(spec.dataset))

    def list_jobs(
        self, *, state: JobState | None, name: str | None, kind: str | None, cursor: str | None, limit: int
    ) -> tuple[list[JobRow], str | None]:
        return self._jobs.page(state=state, name=name, kind=kind, cursor=cursor, limit=limit)

    def get_job(self, job_id: str) -> JobView:
        job = self._jobs.get(job_id)
        transitions, position = EventRepo(self._session).transitions(job_id), self._jobs.queue_position(job)
        if position is None:
            return JobView(job, transitions, None, None)
        version = DatasetRepo(self._session).get(job.dataset_version_id)
        awaited = version if version.state is IMPORTING else None
        return JobView(job, transitions, position, awaited, capacity.pending_reason(job.spec, self._list_capacities()))

    def stop_job(self, job_id: str, stop_request: StopRequest) -> JobView:
        """Cancel, pause, or finish after this epoch; Conflict where the state or the kind does not allow it."""
        if stop_request is StopRequest.FINISH:
            _require_training(self._jobs.get(job_id), "finished early")
        self._jobs.request_stop(job_id, stop_request)
        return self.get_job(job_id)

    def kill_job(self, job_id: str) -> JobView:
        """Cancel without waiting for whoever is at it: what it does from now on has no effect."""
        self._jobs.kill(job_id)
        return self.get_job(job_id)

    def set_priority(self, job_id: str, priority: int) -> JobView:
        """Change the job's place in the queue."""
        self._jobs.set_priority(job_id, priority)
        return self.get_job(job_id)

    def resume_job(self, job_id: str) -> JobView:
        """Let a paused job go on as if it had never been paused."""
        self._jobs.resume(job_id)
        self._queue_job(job_id)
        return self.get_job(job_id)

    def extend_job(self, job_id: str, epochs: int) -> JobView:
        """Let a succeeded job go on for so many epochs more than it made, with its optimizer and schedule."""
        job = self._jobs.get(job_id)
        _require_training(job, "extended")
        made = int(job.progress.get("epoch") or job.spec["epochs"])
        total = made + epochs
        spec = parse_job_spec({**job.spec, "epochs": total})
        self._jobs.extend(job_id, spec.model_dump(mode="json"))
        self._queue_job(job_id)
        return self.get_job(job_id)

    def clone_job(self, job_id: str, changes: Mapping[str, Any]) -> JobView:
        """A new job like an old one; changes are merged into its spec, and a part of another name replaces the old."""
        job = self._jobs.get(job_id)
        known = kinds.fields(str(changes.get("kind", job.kind)))  # another kind takes what it shares with this one
        old = {key: value for key, value in job.spec.items() if key != "name" and key in known}
        return self.submit_job(parse_job_spec(apply_merge_patch(old, changes)), parent_id=job_id)

    def delete_job(self, job_id: str) -> None:
        """Delete a finished job, all it told and its checkpoints; the models it left stay."""
        keys = self._jobs.delete(job_id)
        on_commit(self._session, lambda: self._delete_files(keys))

    def resolve_waiting_jobs(self) -> None:
        """Check the jobs whose dataset has become ready: they can be taken, or fail with what is wrong with them."""
        for job_id in self._jobs.unresolved():
            job = self._jobs.take_unresolved(job_id)
            if job is None:
                continue
            try:
                resolved = self.dry_run(ANY_JOB.validate_python(job.spec))
            except InvalidSpec as error:
                errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.errors]
                self._jobs.fail_invalid(job_id, failure("invalid_spec", error.detail, facts={"errors": errors}))
            else:
                self._jobs.resolve(job_id, resolved.spec.model_dump(mode="json"), list(resolved.warnings))
                resume_from.copy_metrics(self._session, resolved.spec, job_id, resolved.steps_per_epoch)
                self._queue_job(job_id)

    def _resolve_spec(self, spec: AnyJobSpec, dataset: training.PinnedDataset) -> training.ResolvedSpec:
        named, model = kinds.referenced_model(spec), None
        if named is not None:
            at, ref = named
            try:
                model = kinds.RegisteredModel.of(ModelRepo(self._session).resolve(ref))
            except NotFound as error:
                raise InvalidSpec(f"{at}: {error.detail}", errors=[(at, error.detail)]) from None
        begun = resume_from.find(self._session, spec)
        resolved = kinds.resolve(spec, dataset, self._list_devices(), model, self._architectures, begun)
        capacity.check_room(resolved.spec, self._list_capacities())
        return resolved

    def _create_job(self, spec: AnyJobSpec, parent_id: str | None) -> JobView:
        awaited = self._datasets.find_pending_import(spec.dataset)
        if awaited is not None:
            return self._store_job(
                kinds.provisional_spec(spec, awaited.version), awaited.id, parent_id, is_resolved=False
            )
        pinned = self._datasets.pin_version(spec.dataset)
        resolved = self._resolve_spec(spec, pinned.dataset)
        view = self._store_job(
            resolved.spec, pinned.version_id, parent_id, is_resolved=True, warnings=list(resolved.warnings)
        )
        resume_from.copy_metrics(self._session, resolved.spec, view.job.id, resolved.steps_per_epoch)
        return view

    def _store_job(
        self,
        spec: AnyJobSpec,
        version_id: str,
        parent_id: str | None,
        *,
        is_resolved: bool,
        warnings: Sequence[str] = (),
    ) -> JobView:
        job = JobRow(
            kind=spec.kind,
            name=spec.name,
            model_name=kinds.registry_name(spec),
            spec=spec.model_dump(mode="json"),
            is_resolved=is_resolved,
            warnings=list(warnings),
            dataset_version_id=version_id,
            parent_id=parent_id,
            traceparent=self._traceparent,
        )
        self._jobs.add(job)
        if is_resolved:
            self._queue_job(job.id)
        return self.get_job(job.id)

    def _queue_job(self, job_id: str) -> None:
        OutboxRepo(self._session).add("train", job_id)
        on_commit(self._session, self._wake)

    def _list_devices(self) -> frozenset[str]:
        return frozenset(name for worker in self._list_live_workers() for name in list_device_names(worker))

    def _list_capacities(self) -> list[WorkerCapacity]:
        return capacity.worker_capacities(self._list_live_workers())

    def _list_live_workers(self) -> list[WorkerRow]:
        return WorkerRepo(self._session).alive(self._worker_silence_s)

    def _delete_files(self, keys: Sequence[str]) -> None:
        for key in keys:
            try:
                self._storage.delete(key)
            except (OSError, Unavailable) as error:  # the job is gone already; the sweep takes what is left
                log.warning("job.files_left", key=key, error=str(error))


def _require_training(job: JobRow, action: str) -> None:
    if job.kind != "train":
        raise Conflict(
            f"A job of the kind {job.kind} cannot be {action}: it has no epochs.", state=job.state, allowed=[]
        )


def hash_spec(spec: AnyJobSpec) -> str:
    """Equal for equal requests, whatever the order and layout of their JSON."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def parse_job_spec(document: Mapping[str, Any]) -> AnyJobSpec:
    """Raises InvalidSpec where the document is no spec."""
    try:
        return ANY_JOB.validate_python(dict(document))
    except ValidationError as error:
        pairs = to_pointers(error.errors(include_input=False), ANY_JOB.json_schema())
        raise InvalidSpec(f"{pairs[0][0]}: {pairs[0][1]}", errors=pairs) from None


def apply_merge_patch(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396, but a part that changes its kind (`name`) takes none of the old kind's options with it."""
    result = dict(old)
    for key, change in changes.items():
        before = old.get(key)
        same_kind = (
            isinstance(before, dict)
            and isinstance(change, dict)
            and _get_part_name(change, before) == _get_part_name(before)
        )
        if change is None:
            result.pop(key, None)
        elif same_kind:
            result[key] = apply_merge_patch(before or {}, change)
        else:
            result[key] = change
    return result


def _get_part_name(part: Mapping[str, Any], otherwise: Mapping[str, Any] | None = None) -> object:
    return part.get("name", (otherwise or {}).get("name"))


def list_device_names(worker: WorkerRow) -> list[str]:
    """`cuda:0` is a `cuda` too."""
    return [name for device in worker.devices for name in (str(device["name"]), str(device["name"]).partition(":")[0])]
