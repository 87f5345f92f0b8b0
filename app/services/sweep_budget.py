"""Estimates what a sweep costs, and extends the budget of one."""

from collections.abc import Mapping
from typing import Any

from app.services.job_submission import ValidatedSpec
from app.services.validation.report import reject_all
from core.db.repos.datasets import DatasetRepo
from core.db.repos.epoch_times import find_epoch_seconds
from core.db.session import SessionFactory, transaction
from core.spec import JobSpec
from core.spec.base import FieldError
from core.sweeps.estimate import SweepEstimate
from core.sweeps.retained_files import count_registered
from core.sweeps.rules import find_errors
from core.sweeps.spec import BudgetSpec, SweepSpec

BYTES_PER_PARAMETER = 12
"""Of a checkpoint: the weight and two moments of the optimizer. A model version has 4 bytes per parameter."""


def estimate_hours(
    sessions: SessionFactory, spec: SweepSpec, valid: ValidatedSpec, num_epochs: int | None
) -> float | None:
    """Estimate the duration from that of earlier jobs with the same dataset and architecture."""
    trained, dataset, seconds = valid.require().spec, valid.dataset, None
    if isinstance(trained, JobSpec) and dataset is not None and num_epochs is not None:
        with transaction(sessions, read_only=True) as session:
            version = DatasetRepo(session).find_version(dataset.name, dataset.version)
            if version is not None:
                seconds = find_epoch_seconds(session, version.id, trained.architecture.name)
    hours = (
        None if seconds is None or num_epochs is None else seconds * num_epochs / (spec.parallel * spec.repeats) / 3600
    )
    return min((limit for limit in (hours, spec.budget.hours) if limit is not None), default=None)


def estimate_disk(spec: SweepSpec, estimate: SweepEstimate, num_parameters: int) -> int | None:
    """Estimate the size of all checkpoints and model versions at the same time."""
    if estimate.checkpoints is None or estimate.trials is None:
        return None
    num_versions = count_registered(spec, estimate.trials)
    return num_parameters * (estimate.checkpoints * BYTES_PER_PARAMETER + num_versions * 4)


def extend_budget(spec: SweepSpec, changes: Mapping[str, Any]) -> SweepSpec:
    """Return a sweep with changed limits of its budget; None removes a limit.

    Raises:
        InvalidSpec: no limit remains, or the new budget violates a rule of sweeps.
    """
    limits = spec.budget.model_dump() | dict(changes)
    if not any(limit is not None for limit in limits.values()):
        reject_all([("", "at least one limit of the budget must remain: trials, epochs or hours")])
    extended = spec.model_copy(update={"budget": BudgetSpec.model_validate(limits)})
    if errors := [(pointer.removeprefix("/budget"), reason) for pointer, reason in find_errors(extended)]:
        reject_all(errors)
    return extended


def find_spent(budget: BudgetSpec, spent: Mapping[str, float]) -> list[FieldError]:
    """Return an error for each limit of a budget that a sweep has reached already.

    `spent` is counted as the scheduler counts it: `hours` with those of the present run.
    """
    return [
        (f"/{name}", f"must be above {round(number, 3):.12g}, which the sweep has used already; got {limit:.12g}")
        for name, number in spent.items()
        if (limit := getattr(budget, name)) is not None and limit <= number
    ]
