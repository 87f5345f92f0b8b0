"""Validates and submits sweeps, and adds trials to them. No transaction is open while a trial is validated."""

import secrets
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from pydantic import JsonValue
from sqlalchemy.orm import Session

from app.services.datasets import DatasetService
from app.services.job_submission import JobSubmission, ValidatedSpec
from app.services.submission_store import hash_spec
from app.services.sweep_budget import estimate_disk, estimate_hours, extend_budget, find_spent
from app.services.sweep_references import lock_version, pin_references
from app.services.sweeps import SweepDetails, SweepService
from app.services.validation import sweep as rules
from app.services.validation.context import ResolvedSpec
from app.services.validation.objective import find_curve_error
from app.services.validation.report import reject, reject_all
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.sweep_trials import build_client_trial
from core.db.repos.sweeps import SweepRepo
from core.db.repos.trial_lists import TrialListRepo, TrialView
from core.db.session import SessionFactory, on_commit, transaction
from core.db.sweep_tables import SweepRow
from core.errors import Conflict, IdempotencyMismatch, InvalidSpec
from core.spec import JobSpec
from core.spec.base import FieldError
from core.spec.shorthand import expand_document
from core.sweeps.estimate import SweepEstimate, estimate_sweep
from core.sweeps.rules import find_errors
from core.sweeps.sampling import Suggestion
from core.sweeps.spec import SweepSpec

MAX_THREADS = 2
NUM_SAMPLED = 5
Result = TypeVar("Result")


class _ValidSweep(NamedTuple):
    """A valid sweep with a name, and its first trial: as it was validated, its parameters and its job spec."""

    spec: SweepSpec
    trial: ValidatedSpec
    first: Suggestion
    job: JobSpec


class SampledTrial(NamedTuple):
    """A trial of a dry run. `resolved` is None if `errors` is not empty."""

    suggestion: Suggestion
    resolved: ResolvedSpec | None
    errors: Sequence[FieldError]


class SweepPlan(NamedTuple):
    """The result of a dry run. None: unknown."""

    spec: SweepSpec
    trials: Sequence[SampledTrial]
    estimate: SweepEstimate
    hours: float | None
    disk_bytes: int | None


class SweepSubmission:
    """Submits sweeps in three steps, as `JobSubmission` submits jobs.

    Args:
        jobs: validates the trials.
        open_datasets: function that builds a dataset service for an open session.
        open_sweeps: function that builds a sweep service for an open session.
        wake: function that wakes the outbox relay; it is called after the commit.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        jobs: JobSubmission,
        *,
        open_datasets: Callable[[Session], DatasetService],
        open_sweeps: Callable[[Session], SweepService],
        wake: Callable[[], None],
    ) -> None:
        self._sessions = sessions
        self._jobs = jobs
        self._open_datasets = open_datasets
        self._open_sweeps = open_sweeps
        self._wake = wake
        self._threads = CapacityLimiter(MAX_THREADS)

    async def submit_sweep(self, spec: SweepSpec, idempotency_key: str | None = None) -> SweepDetails:
        """Validate a sweep and its first trial, and store it. The controller of sweeps starts the trials.

        Raises:
            InvalidSpec: the sweep or its first trial violates a validation rule.
            IdempotencyMismatch: an earlier request used the key with a different body.
        """
        submitted: SweepDetails | None = await self._run(self._find_submitted, spec, idempotency_key)
        if submitted is not None:
            return submitted
        named = _name_sweep(spec)
        valid = await self._validate(named)
        return await self._run(self._store_once, spec, valid, idempotency_key)

    async def dry_run(self, spec: SweepSpec) -> SweepPlan:
        """Sample and validate the first trials of a sweep, and estimate its costs, without storing anything.

        Raises the errors of `submit_sweep`, and DatasetNotReady if the sweep is valid but its dataset is imported.
        """
        named = _name_sweep(spec)
        _, valid, first, _ = await self._validate(named)
        trials = [SampledTrial(first, valid.require(), ())]
        suggestions: list[Suggestion] = await self._run(rules.sample_parameters, named, NUM_SAMPLED)
        trials += [await self._sample(named, suggestion) for suggestion in suggestions[1:]]
        estimate: SweepEstimate = await self._run(estimate_sweep, named)
        hours = await self._run(estimate_hours, self._sessions, named, valid, estimate.epochs)
        sizes = [trial.resolved.num_parameters for trial in trials if trial.resolved is not None]
        return SweepPlan(named, trials, estimate, hours, estimate_disk(named, estimate, max(sizes)))

    async def add_trial(self, sweep_id: str, parameters: Mapping[str, JsonValue]) -> TrialView:
        """Add a trial with these parameters to a sweep.

        Raises:
            NotFound: the sweep does not exist.
            InvalidSpec: the parameters are not those of the space, or give an invalid job.
            Conflict: the state of the sweep does not allow it.
        """
        spec: SweepSpec = await self._run(self._read_spec, sweep_id)
        job = await self._run(rules.check_parameters, spec, parameters)
        try:
            await self._jobs.validate(job)
        except InvalidSpec as error:
            raise rules.locate_parameters(error, parameters) from None
        return await self._run(self._store_trial, sweep_id, parameters)

    async def extend_sweep(self, sweep_id: str, changes: Mapping[str, Any]) -> SweepDetails:
        """Change the budget of a sweep. `changes` are its new limits; None removes a limit.

        Raises:
            NotFound: the sweep does not exist.
            InvalidSpec: the new budget allows no trial or no epoch more.
            Conflict: the state of the sweep does not allow it.
        """
        return await self._run(self._extend, sweep_id, changes)

    async def _run(self, function: Callable[..., Result], *arguments: Any) -> Result:  # noqa: ANN401 - any function
        return await run_sync(partial(function, *arguments), limiter=self._threads)

    async def _validate(self, spec: SweepSpec) -> _ValidSweep:
        """Validate a sweep, and its first trial as a job."""
        first, job = await self._run(_check_sweep, spec)
        valid = await self._validate_trial(spec, first, job)
        trained = job if valid.resolved is None else valid.resolved.spec
        if isinstance(trained, JobSpec) and (reason := find_curve_error(trained, spec.objective.metric)):
            reject("/objective/metric", reason)
        return _ValidSweep(spec, valid, first, job)

    async def _validate_trial(self, spec: SweepSpec, suggestion: Suggestion, job: JobSpec) -> ValidatedSpec:
        try:
            return await self._jobs.validate(job)
        except InvalidSpec as error:
            raise rules.relocate_errors(error, spec, suggestion) from None

    async def _sample(self, spec: SweepSpec, suggestion: Suggestion) -> SampledTrial:
        try:
            job = await self._run(_build_trial, spec, suggestion)
            return SampledTrial(suggestion, (await self._validate_trial(spec, suggestion, job)).require(), ())
        except InvalidSpec as error:
            return SampledTrial(suggestion, None, error.errors)

    def _find_submitted(self, spec: SweepSpec, key: str | None) -> SweepDetails | None:
        """Return the sweep that an earlier request with the same idempotency key submitted."""
        if key is None:
            return None
        with transaction(self._sessions, read_only=True) as session:
            existing = IdempotencyRepo(session).find(key)
            if existing is None:
                return None
            if existing.request_hash != hash_spec(spec):
                raise IdempotencyMismatch(
                    f"The idempotency key was already used for {existing.subject_id} with another request body."
                )
            return self._open_sweeps(session).get_sweep(existing.subject_id)

    def _store_once(self, spec: SweepSpec, valid: _ValidSweep, key: str | None) -> SweepDetails:
        """Store a sweep, or return that which another request with the same idempotency key has stored meanwhile."""
        try:
            with transaction(self._sessions) as session:
                return self._store(session, spec, valid, key)
        except Conflict:
            if (submitted := self._find_submitted(spec, key)) is not None:
                return submitted
            raise

    def _store(self, session: Session, spec: SweepSpec, valid: _ValidSweep, key: str | None) -> SweepDetails:
        named, trial = valid.spec, valid.trial
        if trial.dataset is not None:
            version = self._open_datasets(session).pin_version(trial.dataset)
        else:
            version = lock_version(session, trial.pending)
        base: dict[str, Any] = expand_document(JobSpec, named.base)
        base["dataset"] = {**base["dataset"], "version": version.version}
        base = pin_references(session, named, base, valid.job)
        row = SweepRepo(session).add(
            SweepRow(
                name=named.name,
                model_name=get_model_name(named),
                spec=named.model_copy(update={"base": base}).model_dump(mode="json"),
                dataset_version_id=version.id,
            )
        )
        if key is not None:
            IdempotencyRepo(session).add(key, hash_spec(spec), row.id)
        on_commit(session, self._wake)
        return self._open_sweeps(session).get_sweep(row.id)

    def _read_spec(self, sweep_id: str) -> SweepSpec:
        with transaction(self._sessions, read_only=True) as session:
            return SweepSpec.model_validate(SweepRepo(session).get(sweep_id).spec)

    def _store_trial(self, sweep_id: str, parameters: Mapping[str, JsonValue]) -> TrialView:
        while True:
            with transaction(self._sessions, read_only=True) as session:
                planned = SweepRepo(session).plan_trial(sweep_id)
            trial = build_client_trial(*planned, parameters)
            with transaction(self._sessions) as session:
                row = SweepRepo(session).add_trial(sweep_id, trial)
                if row is not None:
                    on_commit(session, self._wake)
                    (view,) = TrialListRepo(session, sweep_id).build_views([row])
                    return view

    def _extend(self, sweep_id: str, changes: Mapping[str, Any]) -> SweepDetails:
        while True:
            with transaction(self._sessions, read_only=True) as session:
                before = SweepSpec.model_validate(SweepRepo(session).get(sweep_id).spec)
            extended = extend_budget(before, changes)
            with transaction(self._sessions) as session:
                if self._store_budget(session, sweep_id, before, extended):
                    on_commit(session, self._wake)
                    return self._open_sweeps(session).get_sweep(sweep_id)

    def _store_budget(self, session: Session, sweep_id: str, before: SweepSpec, extended: SweepSpec) -> bool:
        """Store a new budget. Return False if another request has changed the budget meanwhile."""
        repo = SweepRepo(session)
        row = repo.get(sweep_id, is_locked=True)
        if SweepSpec.model_validate(row.spec).budget != before.budget:
            return False
        spent = {"trials": row.num_trials, "epochs": row.num_epochs, "hours": repo.get_active_s(row) / 3600}
        if errors := find_spent(extended.budget, spent):
            reject_all(errors)
        repo.extend(sweep_id, extended)
        return True


def _name_sweep(spec: SweepSpec) -> SweepSpec:
    """Return the spec with a name."""
    return spec if spec.name else spec.model_copy(update={"name": f"sweep-{secrets.token_hex(4)}"})


def get_model_name(spec: SweepSpec) -> str:
    """Return the name of the model that a sweep registers; a base that is invalid has no other name than the sweep."""
    names = [spec.base.get("model"), spec.base.get("name"), spec.name]
    return next(str(name) for name in names if name is not None)


def _check_sweep(spec: SweepSpec) -> tuple[Suggestion, JobSpec]:
    """Apply the rules of sweeps, and return the first trial with its job spec.

    Raises:
        InvalidSpec: the sweep is invalid.
    """
    if errors := [*rules.find_base_errors(spec), *find_errors(spec)]:
        reject_all(errors)
    (first,) = rules.sample_parameters(spec, 1)
    errors = rules.find_value_errors(spec)
    try:
        job = _build_trial(spec, first)
    except InvalidSpec as error:
        others = [each for each in error.errors if each[0].startswith("/base")]
        reject_all([*errors, *others] if errors else error.errors)
    if errors:
        reject_all(errors)
    return first, job


def _build_trial(spec: SweepSpec, suggestion: Suggestion) -> JobSpec:
    """Return the job spec of a trial with the model of the sweep. Raises InvalidSpec as `rules.build_trial`."""
    return rules.build_trial(spec, suggestion).model_copy(update={"model": get_model_name(spec)})
