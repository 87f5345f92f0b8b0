"""Defines the specs of jobs: frozen, versioned pydantic models that reject unknown fields."""

from core.spec.job import ArchitectureSpec, DatasetSpec, JobSpec, NamedOptions, TrainingSpec
from core.spec.job_kinds import (
    ANY_JOB,
    AUTO,
    CANDIDATE_FORMATS,
    SERVED_VARIANTS,
    AnyJobSpec,
    EvaluateSpec,
    LrFindSpec,
    ModelJobSpec,
    PredictArchiveSpec,
    PredictSpec,
    RequestedFormat,
    VariantFormat,
    VariantSpec,
)
from core.spec.registration import RegisterSpec
from core.spec.reproduction import ReproduceSpec

__all__ = [
    "ANY_JOB",
    "AUTO",
    "CANDIDATE_FORMATS",
    "SERVED_VARIANTS",
    "AnyJobSpec",
    "ArchitectureSpec",
    "DatasetSpec",
    "EvaluateSpec",
    "JobSpec",
    "LrFindSpec",
    "ModelJobSpec",
    "NamedOptions",
    "PredictArchiveSpec",
    "PredictSpec",
    "RegisterSpec",
    "ReproduceSpec",
    "RequestedFormat",
    "TrainingSpec",
    "VariantFormat",
    "VariantSpec",
]
