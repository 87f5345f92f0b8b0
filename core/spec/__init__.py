"""A job in words: pydantic, frozen, closed to unknown fields, versioned."""

from core.spec.job import ArchitectureSpec, Choice, DatasetSpec, JobSpec, TrainingSpec
from core.spec.job_kinds import (
    ANY_JOB,
    SERVED_VARIANTS,
    AnyJobSpec,
    EvaluateSpec,
    ExaminationSpec,
    LrFindSpec,
    PredictArchiveSpec,
    PredictSpec,
    VariantFormat,
    VariantSpec,
)

__all__ = [
    "ANY_JOB",
    "SERVED_VARIANTS",
    "AnyJobSpec",
    "ArchitectureSpec",
    "Choice",
    "DatasetSpec",
    "EvaluateSpec",
    "ExaminationSpec",
    "JobSpec",
    "LrFindSpec",
    "PredictArchiveSpec",
    "PredictSpec",
    "TrainingSpec",
    "VariantFormat",
    "VariantSpec",
]
