"""Submits, lists, controls and deletes jobs. `results.py` reads their results."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from sqlalchemy.orm import Session

from app.services.datasets import DatasetService
from app.services.validation import capacity
from app.services.validation.context import PinnedDataset, RegisteredModel, ResolvedSpec, ValidationContext
from app.services.validation.report import reject
from app.services.validation.resolve import (
    find_model_reference,
    get_registry_name,
    list_fields,
    parse_job_spec,
    pin_unresolved_spec,
    resolve,
)
from app.services.validation.resume_from import copy_metrics, find_resume_source
from app.serving.backend import ArchitectureCatalog
from core.db.repos.datasets import DatasetRepo
from core.db.repos.events import EventRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import on_commit
from core.db.tables import DatasetVersionRow, JobRow, WorkerRow
from core.errors import Conflict, IdempotencyMismatch, InvalidSpec, NotFound
from core.events import Event
from core.failures import build_failure
from core.jobs import DatasetState, JobState, StopRequest
from core.spec import ANY_JOB, AnyJobSpec
from core.storage import Storage
from core.storage.deletion import delete_stored_files

log = structlog.get_logger(__name__)
IMPORTING = DatasetState.IMPORTING


class JobView(NamedTuple):
    """A job and its state transitions. For a queued job, also its position in the queue and the reason why it waits."""

    job: JobRow
    transitions: Sequence[Event]
    queue_position: int | None
    waits_for: DatasetVersionRow | None
    queue_reason: str | None = None


class JobService:
    """Manages jobs. Every method runs in the caller's transaction.

    Args:
        architectures: the architecture catalog, which checks that a network can be built.
        wake: function that wakes the outbox relay; it is called after the commit.
        worker_silence_s: a worker is considered live for this many seconds after its last heartbeat.
        traceparent: W3C trace context of the current request, which is stored with submitted jobs.
    """

    def __init__(
        self,
        session: Session,
        datasets: DatasetService,
        storage: Storage,
        architectures: ArchitectureCatalog,
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
        """Store a job and queue it. Requests with the same idempotency key and spec return the same job.

        Raises:
            InvalidSpec: the spec violates a validation rule.
            DatasetNotReady: the import of the job's dataset failed.
            IdempotencyMismatch: an earlier request used the key with a different spec.
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
            raise IdempotencyMismatch(
                f"The idempotency key was already used for job {existing.job_id} with another request body."
            )
        return self.get_job(existing.job_id)

    def dry_run(self, spec: AnyJobSpec) -> ResolvedSpec:
        """Validate a spec and fill in all defaults, without storing anything."""
        return self._resolve_spec(spec, self._datasets.resolve_version(spec.dataset))

    def list_jobs(
        self, *, state: JobState | None, name: str | None, kind: str | None, cursor: str | None, limit: int
    ) -> tuple[list[JobRow], str | None]:
        """Return a page of jobs, newest first, and the cursor of the next page."""
        return self._jobs.list_page(state=state, name=name, kind=kind, cursor=cursor, limit=limit)

    def get_job(self, job_id: str) -> JobView:
        """Return a job. Raises NotFound."""
        job = self._jobs.get(job_id)
        transitions, position = EventRepo(self._session).list_transitions(job_id), self._jobs.get_queue_position(job)
        if position is None:
            return JobView(job, transitions, None, None)
        version = DatasetRepo(self._session).get(job.dataset_version_id)
        pending_import = version if version.state is IMPORTING else None
        reason = capacity.get_pending_reason(job.spec, capacity.list_capacities(self._list_live_workers()))
        return JobView(job, transitions, position, pending_import, reason)

    def stop_job(self, job_id: str, stop_request: StopRequest) -> JobView:
        """Cancel or pause a job, or finish it after the current epoch.

        Raises:
            Conflict: the action is not allowed in the job's state or for its kind.
        """
        if stop_request is StopRequest.FINISH:
            _require_training(self._jobs.get(job_id), "finished early")
        self._jobs.request_stop(job_id, stop_request)
        return self.get_job(job_id)

    def kill_job(self, job_id: str) -> JobView:
        """Cancel a job without waiting for its worker. Later updates of the job by the worker are ignored."""
        self._jobs.kill(job_id)
        return self.get_job(job_id)

    def set_priority(self, job_id: str, priority: int) -> JobView:
        """Set the job's priority in the queue."""
        self._jobs.set_priority(job_id, priority)
        return self.get_job(job_id)

    def resume_job(self, job_id: str) -> JobView:
        """Queue a paused job again. The job continues from its last checkpoint."""
        self._jobs.resume(job_id)
        self._queue_job(job_id)
        return self.get_job(job_id)

    def extend_job(self, job_id: str, epochs: int) -> JobView:
        """Queue a succeeded job again, to train `epochs` more epochs. Optimizer and schedule states are restored."""
        job = self._jobs.get(job_id)
        _require_training(job, "extended")
        num_completed = int(job.progress.get("epoch") or job.spec["epochs"])
        spec = parse_job_spec({**job.spec, "epochs": num_completed + epochs})
        self._jobs.extend(job_id, spec.model_dump(mode="json"))
        self._queue_job(job_id)
        return self.get_job(job_id)

    def clone_job(self, job_id: str, changes: Mapping[str, Any]) -> JobView:
        """Submit a copy of a job. `changes` are merged into its spec (see `apply_merge_patch`)."""
        job = self._jobs.get(job_id)
        fields = list_fields(str(changes.get("kind", job.kind)))  # drop fields that the new kind does not have
        old = {key: value for key, value in job.spec.items() if key != "name" and key in fields}
        return self.submit_job(parse_job_spec(apply_merge_patch(old, changes)), parent_id=job_id)

    def delete_job(self, job_id: str) -> None:
        """Delete a job that has ended, with its events, metrics and checkpoints. Its registered models are kept."""
        keys = self._jobs.delete(job_id)
        on_commit(self._session, lambda: delete_stored_files(self._storage, keys))

    def resolve_waiting_jobs(self) -> None:
        """Validate the jobs whose dataset import has ended. Queue the valid jobs and mark the others as failed."""
        for job_id in self._jobs.find_resolvable_ids():
            job = self._jobs.lock_for_resolution(job_id)
            if job is None:
                continue
            try:
                resolved = self.dry_run(ANY_JOB.validate_python(job.spec))
            except InvalidSpec as error:
                errors = [{"pointer": pointer, "detail": detail} for pointer, detail in error.errors]
                failure = build_failure("invalid_spec", error.detail, extra={"errors": errors})
                self._jobs.fail_resolution(job_id, failure)
            else:
                self._jobs.resolve(job_id, resolved.spec.model_dump(mode="json"), list(resolved.warnings))
                copy_metrics(self._session, resolved.spec, job_id, resolved.steps_per_epoch)
                self._queue_job(job_id)

    def _resolve_spec(self, spec: AnyJobSpec, dataset: PinnedDataset) -> ResolvedSpec:
        workers = self._list_live_workers()
        return resolve(
            ValidationContext(
                spec=spec,
                dataset=dataset,
                devices=frozenset(name for worker in workers for name in list_device_names(worker)),
                architectures=self._architectures,
                model=self._find_model(spec),
                resume_source=find_resume_source(self._session, spec),
                capacities=capacity.list_capacities(workers),
            )
        )

    def _find_model(self, spec: AnyJobSpec) -> RegisteredModel | None:
        reference = find_model_reference(spec)
        if reference is None:
            return None
        pointer, ref = reference
        try:
            return RegisteredModel.from_row(ModelRepo(self._session).resolve(ref))
        except NotFound as error:
            reject(pointer, error.detail)

    def _create_job(self, spec: AnyJobSpec, parent_id: str | None) -> JobView:
        pending = self._datasets.find_pending_import(spec.dataset)
        if pending is not None:
            return self._store_job(pin_unresolved_spec(spec, pending.version), pending.id, parent_id, is_resolved=False)
        pinned = self._datasets.pin_version(spec.dataset)
        resolved = self._resolve_spec(spec, pinned.dataset)
        view = self._store_job(
            resolved.spec, pinned.version_id, parent_id, is_resolved=True, warnings=list(resolved.warnings)
        )
        copy_metrics(self._session, resolved.spec, view.job.id, resolved.steps_per_epoch)
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
            model_name=get_registry_name(spec),
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

    def _list_live_workers(self) -> list[WorkerRow]:
        return WorkerRepo(self._session).list_alive(self._worker_silence_s)


def _require_training(job: JobRow, action: str) -> None:
    if job.kind != "train":
        raise Conflict(f"A job of kind {job.kind!r} cannot be {action}: it has no epochs.", state=job.state, allowed=[])


def hash_spec(spec: AnyJobSpec) -> str:
    """Return a hash of a spec. The order of the fields does not change the hash."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def apply_merge_patch(old: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Apply a JSON merge patch (RFC 7396), but replace an object completely if its `name` changes."""
    result = dict(old)
    for key, change in changes.items():
        before = old.get(key)
        if change is None:
            result.pop(key, None)
        elif isinstance(before, dict) and isinstance(change, dict) and _has_same_name(before, change):
            result[key] = apply_merge_patch(before, change)
        else:
            result[key] = change
    return result


def _has_same_name(before: Mapping[str, Any], change: Mapping[str, Any]) -> bool:
    return bool(change.get("name", before.get("name")) == before.get("name"))


def list_device_names(worker: WorkerRow) -> list[str]:
    """Return the name and the kind of each device of a worker, for example `cuda:0` and `cuda`."""
    names = [str(device["name"]) for device in worker.devices]
    return [name for device in names for name in (device, device.partition(":")[0])]
