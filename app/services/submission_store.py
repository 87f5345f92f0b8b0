"""Reads the inputs for the validation of a submitted spec, and stores the job."""

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeVar

from sqlalchemy.orm import Session

from app.services.dataset_selection import DatasetSelection
from app.services.datasets import DatasetService
from app.services.jobs import JobService, JobView
from app.services.validation import capacity
from app.services.validation.context import RegisteredModel, ResolvedSpec, ResumeSource
from app.services.validation.original import check_original
from app.services.validation.report import reject
from app.services.validation.resolve import find_model_reference, pin_unresolved_spec
from app.services.validation.resume_from import copy_metrics, find_resume_source
from core.db.queue_tables import WorkerRow
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.placement import WorkerCapacity
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import IdempotencyMismatch, InvalidSpec, NotFound
from core.failures import build_failure
from core.spec import AnyJobSpec, TrainingSpec
from core.spec.base import Spec
from core.spec.submission import build_initial_progress, get_registry_name

T = TypeVar("T")


class Submission(NamedTuple):
    """A request to submit a job.

    Attributes:
        idempotency_key: requests with the same key and spec submit only one job.
        parent_id: the id of the job that was cloned.
        traceparent: the W3C trace context of the request.
    """

    spec: AnyJobSpec
    idempotency_key: str | None = None
    parent_id: str | None = None
    traceparent: str | None = None


class SubmissionInputs(NamedTuple):
    """The inputs of the validation of a spec, read in one transaction; see `ValidationContext`.

    Attributes:
        dataset: the selected dataset; None while it is imported, or if it does not exist.
        pending: the dataset version, while it is imported.
        errors: pairs of a JSON pointer and a reason, for a dataset, model or checkpoint that does not exist.
    """

    dataset: DatasetSelection | None
    devices: frozenset[str]
    model: RegisteredModel | None
    resume_source: ResumeSource | None
    capacities: Sequence[WorkerCapacity]
    pending: DatasetVersionRow | None = None
    errors: Sequence[tuple[str, str]] = ()


class SubmissionStore:
    """Reads and stores submissions. Every method runs in the caller's transaction."""

    def __init__(self, session: Session, datasets: DatasetService, jobs: JobService) -> None:
        self._session = session
        self._datasets = datasets
        self._job_service = jobs
        self._jobs = JobRepo(session)

    def find_submitted(self, submission: Submission) -> JobView | None:
        """Return the job that an earlier request with the same idempotency key submitted.

        Raises:
            IdempotencyMismatch: the earlier request had a different spec.
        """
        if submission.idempotency_key is None:
            return None
        existing = IdempotencyRepo(self._session).find(submission.idempotency_key)
        if existing is None:
            return None
        if existing.request_hash != hash_spec(submission.spec):
            raise IdempotencyMismatch(
                f"The idempotency key was already used for {existing.subject_id} with another request body."
            )
        return self._job_service.get_job(existing.subject_id)

    def find_pending_import(self, spec: AnyJobSpec) -> DatasetVersionRow | None:
        """Return the dataset version of the spec if its import is running, else None."""
        return None if spec.dataset is None else self._datasets.find_pending_import(spec.dataset)

    def read_inputs(self, spec: AnyJobSpec) -> SubmissionInputs:
        """Return the inputs for the validation of the spec.

        Raises:
            DatasetNotReady: the import of the dataset failed.
        """
        workers = self._job_service.list_live_workers()
        errors: list[tuple[str, str]] = []
        pending = _collect_errors(errors, lambda: self.find_pending_import(spec))
        dataset = None
        selected = spec.dataset
        if selected is not None and pending is None and not errors:
            dataset = _collect_errors(errors, lambda: self._datasets.select_version(selected))
        _collect_errors(errors, lambda: check_original(self._session, spec))
        return SubmissionInputs(
            dataset=dataset,
            devices=frozenset(name for worker in workers for name in list_device_names(worker)),
            model=_collect_errors(errors, lambda: self._find_model(spec)),
            resume_source=_collect_errors(errors, lambda: find_resume_source(self._session, spec)),
            capacities=capacity.list_capacities(workers),
            pending=pending,
            errors=tuple(errors),
        )

    def store_job(self, submission: Submission, resolved: ResolvedSpec, dataset: DatasetSelection | None) -> JobView:
        """Store and queue a validated job. Start the import of a built-in dataset that has not been imported yet.

        `dataset` is None if the job reads no dataset.

        Raises:
            NotFound: the dataset version was deleted after the validation.
            InvalidSpec: the model version or the checkpoint was deleted after the validation.
            Conflict: a request with the same idempotency key has stored its job meanwhile.
        """
        self._lock_sources(resolved.spec)
        spec, version_id = resolved.spec, None
        if dataset is not None and spec.dataset is not None:
            version = self._datasets.pin_version(dataset)
            version_id, pinned = version.id, spec.dataset.model_copy(update={"version": version.version})
            spec = spec.model_copy(update={"dataset": pinned})
        job = self._add_job(submission, spec, version_id, resolved=resolved)
        copy_metrics(self._session, spec, job.id, resolved.steps_per_epoch)
        self._job_service.queue_job(job.id)
        return self._job_service.get_job(job.id)

    def store_unresolved_job(self, submission: Submission, version: DatasetVersionRow) -> JobView:
        """Store a job that is validated after the import of its dataset. Raises Conflict, see `store_job`."""
        spec = pin_unresolved_spec(submission.spec, version.version)
        job = self._add_job(submission, spec, version.id, resolved=None)
        return self._job_service.get_job(job.id)

    def list_resolvable_jobs(self) -> list[JobRow]:
        """Return the jobs that are not validated yet and whose dataset import has ended."""
        return [self._jobs.get(job_id) for job_id in JobQueueRepo(self._session).find_resolvable_ids()]

    def store_resolution(self, job_id: str, resolution: ResolvedSpec | InvalidSpec) -> None:
        """Queue a job that was validated after its import, or mark it as failed if its spec is invalid."""
        if self._jobs.lock_for_resolution(job_id) is None:  # another process was faster, or the job was cancelled
            return
        if not isinstance(resolution, InvalidSpec):
            try:
                self._lock_sources(resolution.spec)
            except InvalidSpec as error:  # the model version or the checkpoint was deleted after the validation
                resolution = error
        if isinstance(resolution, InvalidSpec):
            errors = [{"pointer": pointer, "detail": detail} for pointer, detail in resolution.errors]
            failure = build_failure("invalid_spec", resolution.detail, extra={"errors": errors})
            self._jobs.fail_resolution(job_id, failure)
            return
        progress = build_initial_progress(resolution.spec, resolution.steps_per_epoch)
        self._jobs.resolve(job_id, resolution.spec.model_dump(mode="json"), list(resolution.warnings), progress)
        copy_metrics(self._session, resolution.spec, job_id, resolution.steps_per_epoch)
        self._job_service.queue_job(job_id)

    def _find_model(self, spec: AnyJobSpec) -> RegisteredModel | None:
        reference = find_model_reference(spec)
        if reference is None:
            return None
        pointer, ref = reference
        try:
            return RegisteredModel.from_row(ModelRepo(self._session).resolve(ref))
        except NotFound as error:
            reject(pointer, error.detail)

    def _lock_sources(self, spec: AnyJobSpec) -> None:
        """Prevent that the model version and the checkpoint of a resolved spec are deleted before the job is stored."""
        source = spec.resume_from if isinstance(spec, TrainingSpec) else None
        if source is not None and isinstance(source.checkpoint, int):
            try:
                CheckpointRepo(self._session).lock(source.job, source.checkpoint)
            except NotFound as error:
                reject("/resume_from", error.detail)
        reference = find_model_reference(spec)
        if reference is not None:
            pointer, ref = reference
            name, _, version = ref.partition("@")
            try:
                ModelRepo(self._session).lock(name, int(version), is_shared=True)
            except NotFound as error:
                reject(pointer, error.detail)

    def _add_job(
        self, submission: Submission, spec: AnyJobSpec, version_id: str | None, *, resolved: ResolvedSpec | None
    ) -> JobRow:
        job = JobRow(
            kind=spec.kind,
            name=spec.name,
            model_name=get_registry_name(spec),
            spec=spec.model_dump(mode="json"),
            is_resolved=resolved is not None,
            warnings=[] if resolved is None else list(resolved.warnings),
            progress=build_initial_progress(spec, None if resolved is None else resolved.steps_per_epoch),
            dataset_version_id=version_id,
            parent_id=submission.parent_id,
            traceparent=submission.traceparent,
        )
        self._jobs.add(job)
        if submission.idempotency_key is not None:
            IdempotencyRepo(self._session).add(submission.idempotency_key, hash_spec(submission.spec), job.id)
        return job


def _collect_errors(errors: list[tuple[str, str]], find: Callable[[], T]) -> T | None:
    """Return the result of `find`. If it raises InvalidSpec, add the errors to the list and return None."""
    try:
        return find()
    except InvalidSpec as error:
        errors += error.errors
        return None


def hash_spec(spec: Spec) -> str:
    """Return a hash of a spec of a job or sweep. The order of its fields does not change the hash."""
    text = json.dumps(spec.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def list_device_names(worker: WorkerRow) -> list[str]:
    """Return the name and the kind of each device of a worker, for example `cuda:0` and `cuda`."""
    names = [str(device["name"]) for device in worker.devices]
    return [name for device in names for name in (device, device.partition(":")[0])]
