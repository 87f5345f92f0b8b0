"""Compares a job that repeats a training with the original, when its training has ended."""

import math
from collections.abc import Mapping
from typing import Any, Literal

from sqlalchemy.orm import Session

from core.db.repos.curve_comparison import CurveComparisonRepo, CurveMatch
from core.db.repos.jobs import JobRepo
from core.db.repos.originals import OriginalRepo
from core.db.tables import JobRow
from core.json_differences import find_differences
from core.reproduction import (
    ABSOLUTE_TOLERANCE,
    RELATIVE_TOLERANCE,
    OriginalTraining,
    assume_runtime,
    build_reproduction_spec,
    list_environment_differences,
)
from core.spec import ReproduceSpec

Verdict = Literal["identical", "equal_metrics", "different"]
NO_CURVES = CurveMatch(0, 0, 0, 0)
_EXPECTED = frozenset({"/name"})
"""Fields of the spec that a change does not make different."""


def compare_with_original(session: Session, job: JobRow, sha256: str, metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a reproduction: the verdict, and what it is based on. The points of its curves are stored.

    Args:
        session: the session of the transaction that completes the job.
        job: the job with its spec.
        sha256: the hash of the weights that it trained.
        metrics: the metrics of these weights.
    """
    spec = ReproduceSpec.model_validate(job.spec)
    current = JobRepo(session).get(job.id)
    original = OriginalRepo(session).read(spec.original.job, spec.original.sha256)
    last_step = current.progress.get("step") if original.is_extended else None
    curves = CurveComparisonRepo(session, original.job_id, job.id, last_step=last_step)
    match, first_difference, num_losses = NO_CURVES, None, 0
    if original.has_curves:
        match = curves.compare_epochs(current.metrics, RELATIVE_TOLERANCE, ABSOLUTE_TOLERANCE)
        first_difference, num_losses = curves.find_first_difference(), curves.count_losses()
    runtime = original.runtime
    return {
        "verdict": choose_verdict(original, sha256, metrics, match),
        "sha256": sha256,
        "original": {"job": original.job_id, "model": original.model, "sha256": original.sha256},
        "changes": _list_changes(original, spec),
        "first_difference": None if first_difference is None else first_difference._asdict(),
        "environment": None if runtime is None else list_environment_differences(runtime, current.runtime or {}),
        "compared": {
            "weights": "sha256 of weights.safetensors",
            "num_losses": num_losses,
            "num_epoch_metrics": match.num_pairs,
            "num_different_epoch_metrics": match.num_different,
            "relative_tolerance": RELATIVE_TOLERANCE,
            "absolute_tolerance": ABSOLUTE_TOLERANCE,
        },
    }


def choose_verdict(original: OriginalTraining, sha256: str, metrics: Mapping[str, Any], epochs: CurveMatch) -> Verdict:
    """Return `identical` for equal weights, `equal_metrics` if all metrics are equal within the tolerance.

    Without the curves of the original, only the metrics of the weights are compared.
    """
    if sha256 == original.sha256:
        return "identical"
    is_equal = original.metrics.keys() == metrics.keys() and all(
        _are_close(value, metrics[name]) for name, value in original.metrics.items()
    )
    return "equal_metrics" if is_equal and (epochs.is_equal or not original.has_curves) else "different"


def describe_reproduction(result: Mapping[str, Any]) -> list[str]:
    """Return the lines of a job's log on its result."""
    first, compared = result["first_difference"], result["compared"]
    losses, values = f"{compared['num_losses']:,} losses", f"{compared['num_epoch_metrics']:,} metrics of epochs"
    lines = [f"Verdict: {result['verdict']}. Compared with the original: the weights, {losses} and {values}."]
    if not compared["num_losses"]:
        lines.append("No loss could be compared, so the first different step is not known.")
    if first is not None:
        losses = f"{first['reproduced']} instead of {first['original']}"
        lines.append(f"The first recorded step with another loss is {first['step']}: {losses}.")
    return lines


def _list_changes(original: OriginalTraining, spec: ReproduceSpec) -> list[dict[str, Any]]:
    """Return the fields of the spec that differ from an unchanged reproduction, with both values."""
    if original.spec is None:
        return []
    expected = set(_EXPECTED)
    if original.runtime is None:
        original = original._replace(runtime=assume_runtime(original.spec, spec.model_dump(mode="json")))
        expected.add("/stop_after_step")
    unchanged = ReproduceSpec.model_validate(build_reproduction_spec(original))
    documents = {"original": unchanged.model_dump(mode="json"), "reproduced": spec.model_dump(mode="json")}
    return [
        {"pointer": pointer, "original": values.get("original"), "reproduced": values.get("reproduced")}
        for pointer, values in find_differences(documents)
        if pointer not in expected
    ]


def _are_close(first: object, second: object) -> bool:
    if isinstance(first, int | float) and isinstance(second, int | float):
        return math.fabs(first - second) <= ABSOLUTE_TOLERANCE + RELATIVE_TOLERANCE * math.fabs(first)
    return first == second
