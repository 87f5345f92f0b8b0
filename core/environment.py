"""Selects the fields of a job's runtime that can explain different results."""

from collections.abc import Mapping
from typing import Any

ENVIRONMENT_FIELDS = (
    "device",
    "device_name",
    "devices",
    "precision",
    "memory_format",
    "threads",
    "processor",
    "torch",
    "python",
    "candela",
    "revision",
    "lock_sha256",
    "num_parameters",
    "worker",
)
"""Fields of `runtime` that can explain different results."""


def select_environment(runtime: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a job's runtime that can explain different results."""
    return {name: runtime[name] for name in ENVIRONMENT_FIELDS if name in runtime}
