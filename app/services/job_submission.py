"""Validates and submits jobs. No transaction is open while a network is checked or a dataset file is read."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from app.services.dataset_selection import DatasetSelection, load_dataset
from app.services.datasets import build_not_ready_error
from app.services.jobs import JobView
from app.services.merge_patch import apply_merge_patch
from app.services.submission_store import Submission, SubmissionInputs, SubmissionStore
from app.services.validation.architecture_check import check_architecture
from app.services.validation.context import PinnedDataset, ResolvedSpec, ValidationContext
from app.services.validation.resolve import check_spec, list_fields, parse_job_spec, resolve
from app.serving.backend import ArchitectureCatalog
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow
from core.errors import Conflict, InvalidSpec
from core.spec import ANY_JOB, AnyJobSpec, RegisterSpec, TrainingSpec

MAX_THREADS = 8
Stored = TypeVar("Stored", JobView, JobView | None)


class _WaitingJob(NamedTuple):
    """A job whose dataset import has ended, and the inputs of its validation."""

    job_id: str
    spec: AnyJobSpec
    inputs: SubmissionInputs


class ValidatedSpec(NamedTuple):
    """A valid spec.

    Attributes:
        resolved: the spec with all defaults; None while its dataset is imported.
        dataset: the selected dataset; None while it is imported, or if the job reads no dataset.
        pending: the dataset version, while it is imported.
    """

    resolved: ResolvedSpec | None
    dataset: DatasetSelection | None
    pending: DatasetVersionRow | None

    def require(self) -> ResolvedSpec:
        """Return the spec with all defaults. Raises DatasetNotReady while its dataset is imported."""
        if self.resolved is not None:
            return self.resolved
        assert self.pending is not None  # noqa: S101 - the spec is resolved otherwise
        raise build_not_ready_error(self.pending)


class JobSubmission:
    """Submits jobs in three steps: reads the inputs for the validation, validates the spec, and stores the job.

    The steps run in threads that no other requests use. The first and the last step are short transactions. During the
    validation no transaction is open, since it waits for another process and may read files.

    Args:
        open_store: function that builds a store for an open session.
        datasets_dir: folder with the source files of built-in datasets.
        architectures: checks whether a network can be built.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        open_store: Callable[[Session], SubmissionStore],
        *,
        datasets_dir: Path,
        architectures: ArchitectureCatalog,
    ) -> None:
        self._sessions = sessions
        self._open_store = open_store
        self._datasets_dir = datasets_dir
        self._architectures = architectures
        self._threads = CapacityLimiter(MAX_THREADS)

    async def submit_job(self, submission: Submission) -> JobView:
        """Validate a spec, store the job and queue it. Requests with the same idempotency key return the same job.

        Raises:
            InvalidSpec: the spec violates a validation rule.
            DatasetNotReady: the import of the job's dataset failed.
            IdempotencyMismatch: an earlier request used the key with a different spec.
            Unavailable: the inference process, which checks networks, does not respond.
        """
        view: JobView | None = None
        while view is None:  # the import of the dataset may end after the inputs are read
            inputs = await self._run(self._read_inputs, submission)
            if isinstance(inputs, JobView):
                return inputs
            if inputs.pending is not None:
                await self._check_spec(submission.spec, inputs)
                view = await self._run(self._store_unresolved_job, submission)
            else:
                resolved = await self._resolve(submission.spec, inputs)
                view = await self._run(self._store_job, submission, resolved, inputs)
        return view

    async def dry_run(self, spec: AnyJobSpec) -> ResolvedSpec:
        """Validate a spec and fill in all defaults, without storing anything.

        Raises the errors of `submit_job`, and DatasetNotReady if the spec is valid but its dataset is being imported.
        """
        return (await self.validate(spec)).require()

    async def validate(self, spec: AnyJobSpec) -> ValidatedSpec:
        """Validate a spec and fill in all defaults; without those that depend on a dataset that is being imported.

        Raises the errors of `submit_job`.
        """
        inputs: SubmissionInputs = await self._run(self._read_spec_inputs, spec)
        if inputs.pending is not None:
            await self._check_spec(spec, inputs)
            return ValidatedSpec(None, None, inputs.pending)
        return ValidatedSpec(await self._resolve(spec, inputs), inputs.dataset, None)

    async def clone_job(self, job_id: str, changes: Mapping[str, Any], traceparent: str | None) -> JobView:
        """Submit a copy of a job. `changes` are merged into its spec (see `apply_merge_patch`)."""
        spec = await self._run(self._merge_changes, job_id, changes)
        return await self.submit_job(Submission(spec, parent_id=job_id, traceparent=traceparent))

    async def resolve_waiting_jobs(self) -> bool:
        """Validate the jobs whose dataset is ready: of ended imports, and of sweeps. Return whether there were any.

        Valid jobs are queued, and the others are marked as failed.
        """
        jobs: list[_WaitingJob] = await self._run(self._read_waiting_jobs)
        for job in jobs:
            resolution: ResolvedSpec | InvalidSpec
            try:
                resolution = await self._resolve(job.spec, job.inputs)
            except InvalidSpec as error:
                resolution = error
            await self._run(self._store_resolution, job.job_id, resolution)
        return bool(jobs)

    async def _run(self, function: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - any function
        return await run_sync(partial(function, *arguments), limiter=self._threads)

    async def _resolve(self, spec: AnyJobSpec, inputs: SubmissionInputs) -> ResolvedSpec:
        resolved: ResolvedSpec
        if spec.dataset is None:
            resolved = await self._run(resolve, await self._build_context(spec, inputs, None))
            return resolved
        if inputs.dataset is None:
            await self._check_spec(spec, inputs)
            raise AssertionError("a spec without a dataset was accepted")
        dataset: PinnedDataset = await self._run(load_dataset, inputs.dataset, self._datasets_dir)
        resolved = await self._run(resolve, await self._build_context(spec, inputs, dataset))
        return resolved

    async def _check_spec(self, spec: AnyJobSpec, inputs: SubmissionInputs) -> None:
        """Apply the rules that do not depend on the dataset. Raises InvalidSpec with all errors."""
        await self._run(check_spec, await self._build_context(spec, inputs, None))

    async def _build_context(
        self, spec: AnyJobSpec, inputs: SubmissionInputs, dataset: PinnedDataset | None
    ) -> ValidationContext:
        architecture = None
        if isinstance(spec, TrainingSpec | RegisterSpec):
            dataset_info = None if dataset is None else dataset.dataset_info
            architecture = await check_architecture(spec, dataset_info, self._architectures)
        return ValidationContext(
            spec=spec,
            dataset=dataset,
            devices=inputs.devices,
            architecture=architecture,
            model=inputs.model,
            resume_source=inputs.resume_source,
            capacities=inputs.capacities,
            errors=inputs.errors,
        )

    @contextmanager
    def _open(self, *, read_only: bool) -> Iterator[SubmissionStore]:
        with transaction(self._sessions, read_only=read_only) as session:
            yield self._open_store(session)

    def _read_inputs(self, submission: Submission) -> JobView | SubmissionInputs:
        with self._open(read_only=True) as store:
            return store.find_submitted(submission) or store.read_inputs(submission.spec)

    def _store_unresolved_job(self, submission: Submission) -> JobView | None:
        """Store a job whose dataset is being imported. Return None if the import has ended meanwhile."""

        def store_job(store: SubmissionStore) -> JobView | None:
            pending = store.find_pending_import(submission.spec)
            return None if pending is None else store.store_unresolved_job(submission, pending)

        return self._store_once(submission, store_job)

    def _read_spec_inputs(self, spec: AnyJobSpec) -> SubmissionInputs:
        with self._open(read_only=True) as store:
            return store.read_inputs(spec)

    def _store_job(self, submission: Submission, resolved: ResolvedSpec, inputs: SubmissionInputs) -> JobView:
        return self._store_once(submission, lambda store: store.store_job(submission, resolved, inputs.dataset))

    def _store_once(self, submission: Submission, store_job: Callable[[SubmissionStore], Stored]) -> JobView | Stored:
        """Store a job, or return the job that another request with the same idempotency key has stored meanwhile."""
        try:
            with self._open(read_only=False) as store:
                return store.find_submitted(submission) or store_job(store)
        except Conflict:
            with self._open(read_only=True) as store:
                if (submitted := store.find_submitted(submission)) is not None:
                    return submitted
            raise

    def _merge_changes(self, job_id: str, changes: Mapping[str, Any]) -> AnyJobSpec:
        with transaction(self._sessions, read_only=True) as session:
            job = JobRepo(session).get(job_id)
        fields = list_fields(str(changes.get("kind", job.kind)))  # drop fields that the new kind does not have
        old = {key: value for key, value in job.spec.items() if key != "name" and key in fields}
        return parse_job_spec(apply_merge_patch(old, changes))

    def _read_waiting_jobs(self) -> list[_WaitingJob]:
        with self._open(read_only=True) as store:
            return [
                _WaitingJob(job.id, spec, store.read_inputs(spec))
                for job in store.list_resolvable_jobs()
                for spec in [ANY_JOB.validate_python(job.spec)]
            ]

    def _store_resolution(self, job_id: str, resolution: ResolvedSpec | InvalidSpec) -> None:
        with self._open(read_only=False) as store:
            store.store_resolution(job_id, resolution)
