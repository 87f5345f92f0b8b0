"""Derives the columns of a new job from its spec."""

from typing import Any

from core.spec.job import JobSpec
from core.spec.job_kinds import AnyJobSpec


def get_registry_name(spec: AnyJobSpec) -> str:
    """Return the name of the registered model that a resolved job creates or applies."""
    return (spec.model or spec.name or "").partition("@")[0]


def build_initial_progress(spec: AnyJobSpec, steps_per_epoch: int | None) -> dict[str, Any]:
    """Return the progress of a queued job. Only trainings have epochs; other jobs report their steps when they run."""
    epochs = spec.epochs if isinstance(spec, JobSpec) else 1
    steps = epochs * steps_per_epoch if isinstance(spec, JobSpec) and steps_per_epoch else 0
    return {"epoch": 0, "epochs": epochs, "step": 0, "steps": steps, "eta_seconds": None}
