"""A job in words: pydantic, frozen, closed to unknown fields, versioned."""

from core.spec.job import ArchitectureSpec, Choice, DatasetSpec, JobSpec, TrainingSpec
from core.spec.kinds import ANY_JOB, AnyJobSpec, EvaluateSpec, ExaminationSpec, LrFindSpec, PredictSpec

__all__ = [
    "ANY_JOB",
    "AnyJobSpec",
    "ArchitectureSpec",
    "Choice",
    "DatasetSpec",
    "EvaluateSpec",
    "ExaminationSpec",
    "JobSpec",
    "LrFindSpec",
    "PredictSpec",
    "TrainingSpec",
]
