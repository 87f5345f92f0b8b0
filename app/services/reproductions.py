"""Submits jobs that repeat a training, to compare their results with the original."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

from anyio.to_thread import run_sync
from sqlalchemy.orm import Session

from app.services.job_submission import JobSubmission
from app.services.jobs import JobView
from app.services.merge_patch import apply_merge_patch
from app.services.submission_store import Submission
from app.services.validation.context import ResolvedSpec
from app.services.validation.original import select_original
from app.services.validation.report import reject_all
from app.services.validation.resolve import parse_job_spec
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.errors import Conflict, IdempotencyMismatch, InvalidSpec
from core.jobs import DatasetState
from core.reproduction import OriginalTraining, build_reproduction_spec
from core.spec import AnyJobSpec, ReproduceSpec

FIXED_FIELDS = ("kind", "original", "stop_after_step")
"""Fields of the spec that a client cannot change."""
CHANGES = "/changes"
Result = TypeVar("Result")


class ReproductionSubmission:
    """Submits jobs of the kind `reproduce`.

    The inputs of the original must still exist. The methods raise NotFound, Conflict if the training cannot be repeated
    or an input is gone, and InvalidSpec if the changes are invalid.
    """

    def __init__(self, sessions: SessionFactory, submission: JobSubmission) -> None:
        self._sessions = sessions
        self._submission = submission

    async def reproduce_job(self, job_id: str, changes: Mapping[str, Any], **request: str | None) -> JobView:
        """Repeat the training of a job. `request`: the idempotency key and the trace context."""
        return await self._submit(changes, request, job_id=job_id)

    async def reproduce_version(
        self, name: str, version: int, changes: Mapping[str, Any], **request: str | None
    ) -> JobView:
        """Repeat the training of a model version, whose job may have been deleted."""
        return await self._submit(changes, request, name=name, version=version)

    async def dry_run_job(self, job_id: str, changes: Mapping[str, Any]) -> ResolvedSpec:
        """Return the spec that `reproduce_job` would submit, without storing anything."""
        return await self._run(self._submission.dry_run, changes, job_id=job_id)

    async def dry_run_version(self, name: str, version: int, changes: Mapping[str, Any]) -> ResolvedSpec:
        """Return the spec that `reproduce_version` would submit, without storing anything."""
        return await self._run(self._submission.dry_run, changes, name=name, version=version)

    async def _submit(
        self, changes: Mapping[str, Any], request: Mapping[str, str | None], **subject: str | int
    ) -> JobView:
        async def submit(spec: AnyJobSpec) -> JobView:
            return await self._submission.submit_job(Submission(spec, **request))

        return await self._run(submit, changes, **subject)

    async def _run(
        self, use_spec: Callable[[AnyJobSpec], Awaitable[Result]], changes: Mapping[str, Any], **subject: str | int
    ) -> Result:
        """Call a function with the spec of a reproduction. Report the errors of the spec at the fields of `changes`."""
        fixed = [(f"{CHANGES}/{name}", "cannot be changed") for name in FIXED_FIELDS if name in changes]
        if fixed:
            reject_all(fixed)
        try:
            return await use_spec(await run_sync(self._plan, subject, changes))
        except IdempotencyMismatch:
            raise
        except InvalidSpec as error:  # its pointers refer to the spec
            reject_all([(CHANGES + pointer, reason) for pointer, reason in error.errors])

    def _plan(self, subject: Mapping[str, Any], changes: Mapping[str, Any]) -> AnyJobSpec:
        with transaction(self._sessions, read_only=True) as session:
            original = _select(session, **subject)
            if not original.spec:
                raise Conflict("The spec of the training is not known, so that it cannot be repeated.")
            spec = parse_job_spec(apply_merge_patch(build_reproduction_spec(original), changes))
            assert isinstance(spec, ReproduceSpec)  # noqa: S101 - `kind` cannot be changed
            _require_inputs(session, original, spec)
        return spec


def _select(session: Session, *, job_id: str = "", name: str = "", version: int = 0) -> OriginalTraining:
    """Return the training of a job, or of a model version if `name` is set."""
    if not name:
        return select_original(session, job_id)
    row = ModelRepo(session).get(name, version)
    if row.spec.get("kind", "train") != "train":
        raise Conflict(f"{name}@{version} was registered without training, so that there is nothing to reproduce.")
    return select_original(session, row.job_id, row.sha256)


def _require_inputs(session: Session, original: OriginalTraining, spec: ReproduceSpec) -> None:
    """Check that the dataset version, the model and the checkpoint of a spec exist, and that the dataset is the same.

    Raises:
        Conflict: an input is gone.
    """
    dataset, source = spec.dataset, spec.resume_from
    if isinstance(dataset.version, int):
        _require_dataset(session, original, dataset.name, dataset.version)
    name, _, version = (spec.init_from or "").partition("@")
    if version.isdecimal() and ModelRepo(session).find(name, int(version)) is None:
        raise _build_missing_error(f"version {version} of model {name!r}")
    if source is None or not isinstance(source.checkpoint, int):  # the validation of the spec finds the checkpoint
        return
    if CheckpointRepo(session).find(source.job, source.checkpoint) is None:
        raise _build_missing_error(f"checkpoint {source.checkpoint} of job {source.job!r}")


def _require_dataset(session: Session, original: OriginalTraining, name: str, version: int) -> None:
    row, described = DatasetRepo(session).find_version(name, version), f"version {version} of dataset {name!r}"
    if row is None:
        raise _build_missing_error(described)
    if row.state is DatasetState.FAILED:
        raise Conflict(f"The reproduction requires {described}, whose import failed.", missing=described)
    trained = original.dataset
    is_same = (trained.get("name"), trained.get("version")) == (name, version)
    if is_same and row.content_hash != trained.get("content_hash"):
        raise Conflict(f"The content of {described} is not that of the original training.", missing=described)


def _build_missing_error(described: str) -> Conflict:
    return Conflict(f"The reproduction requires {described}, which does not exist.", missing=described)
