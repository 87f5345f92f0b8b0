"""Computes the columns of a job that repeat fields of its spec, so that indexes serve them."""

from collections.abc import Mapping
from typing import Any

from core.db.repos.placement import CUDA


def build_spec_columns(spec: Mapping[str, Any]) -> dict[str, Any]:
    """Return the columns `requires_gpu` and `resume_from_job_id` of a job. Set them whenever its spec is stored."""
    return {
        "requires_gpu": str(spec.get("device", "auto")).startswith(CUDA),
        "resume_from_job_id": (spec.get("resume_from") or {}).get("job"),
    }
