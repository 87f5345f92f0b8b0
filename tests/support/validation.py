"""Resolves training specs against a small dataset, as the service does when a job is posted."""

import asyncio
from typing import Any

import pytest

from app.services.validation.architecture_check import check_architecture
from app.services.validation.context import PinnedDataset, ResolvedSpec, ValidationContext
from app.services.validation.resolve import resolve
from core.datasets.definition import DatasetInfo
from core.errors import InvalidSpec
from core.spec import ANY_JOB, AnyJobSpec, TrainingSpec
from tests.support.local_backend import LocalBackend

IMAGES = DatasetInfo("classification", ("a", "b", "c"), 3, (1, 8, 8), {"train": 100, "valid": 20})
CONVNET = {"name": "convnet", "channels": [4], "batch_norm": True, "head": [8]}
NETWORKS = LocalBackend()


def validation_context(spec: AnyJobSpec, info: DatasetInfo = IMAGES, **changes: Any) -> ValidationContext:
    """Return the context of a job on a machine with a CPU only."""
    checked = None
    if isinstance(spec, TrainingSpec):
        checked = asyncio.run(check_architecture(spec, info, NETWORKS))
    return ValidationContext(spec, PinnedDataset(1, {}, info), frozenset({"cpu"}), checked, **changes)


def resolve_training(info: DatasetInfo = IMAGES, **changes: Any) -> ResolvedSpec:
    """Resolve a training of a small convnet with changes to its spec."""
    spec = ANY_JOB.validate_python({"dataset": {"name": "digits"}, "architecture": CONVNET, **changes})
    return resolve(validation_context(spec, info))


def find_errors(info: DatasetInfo = IMAGES, **changes: Any) -> list[tuple[str, str]]:
    """Return the JSON pointers and reasons of the errors of a training."""
    with pytest.raises(InvalidSpec) as raised:
        resolve_training(info, **changes)
    return list(raised.value.errors)
