"""A job in words: pydantic, frozen, closed to unknown fields, versioned."""

from core.spec.job import ArchitectureSpec, Choice, DatasetSpec, JobSpec

__all__ = ["ArchitectureSpec", "Choice", "DatasetSpec", "JobSpec"]
