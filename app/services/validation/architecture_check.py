"""Checks with the inference process whether the network of a spec can be built for a dataset."""

from collections.abc import Mapping
from typing import NamedTuple

import orjson

from app.serving.backend import (
    ArchitectureCatalog,
    ArchitectureEntry,
    ArchitectureQuery,
    ArchitectureSummary,
    InvalidArchitecture,
)
from core.datasets.definition import DatasetInfo
from core.spec import ArchitectureSpec, RegisterSpec, TrainingSpec
from core.spec.error_pointers import UNEXPLAINED, build_pointer, format_unknown_name, to_pointers

ARCHITECTURE = "/architecture"
_EMPTY = ArchitectureSummary({}, 0, (), ())


class ArchitectureCheck(NamedTuple):
    """The result of a check.

    Attributes:
        spec: the architecture with all options. After an error, the architecture of the request.
        summary: the summary of the network. After an error, it is empty.
        errors: pairs of a JSON pointer and a reason.
        available: all architectures, keyed by name.
    """

    spec: ArchitectureSpec
    summary: ArchitectureSummary
    available: Mapping[str, ArchitectureEntry]
    errors: tuple[tuple[str, str], ...] = ()


async def check_architecture(
    job: TrainingSpec | RegisterSpec, dataset_info: DatasetInfo | None, catalog: ArchitectureCatalog
) -> ArchitectureCheck:
    """Build the network of a job on the meta device in another process, and return its summary or the errors.

    Without a dataset, check only the options. Call it outside of transactions: a large network takes seconds.

    Raises:
        Unavailable: the inference process does not respond.
    """
    available, spec = catalog.list_architectures(), job.architecture
    if spec.name not in available:
        error = f"{ARCHITECTURE}/name", format_unknown_name("architecture", spec.name, list(available))
        return ArchitectureCheck(spec, _EMPTY, available, (error,))
    try:
        query = (
            _build_registration_query(job, available[spec.name])
            if isinstance(job, RegisterSpec)
            else _build_query(job, dataset_info)
        )
        summary = await catalog.check_architecture(query)
    except InvalidArchitecture as error:
        errors = to_pointers(error.errors, available[spec.name].options, ARCHITECTURE)
        errors += [(ARCHITECTURE, UNEXPLAINED)] * (error.num_errors - len(error.errors))
        if error.reason:
            errors.append((ARCHITECTURE + build_pointer(error.path.split("/") if error.path else ()), error.reason))
        return ArchitectureCheck(spec, _EMPTY, available, tuple(errors))
    return ArchitectureCheck(ArchitectureSpec(name=spec.name, **summary.options), summary, available)


def get_registered_shape(spec: RegisterSpec, entry: ArchitectureEntry | None) -> tuple[tuple[int, ...], int]:
    """Return the shape of an image and the number of outputs of a network to register.

    The defaults are those of the published weights. Without them, the shape can be empty and the number 0.
    """
    shape = spec.image_shape or (() if entry is None else entry.image_shape)
    default = 0 if entry is None else entry.num_classes
    return shape, default if spec.classes is None else len(spec.classes)


def _build_registration_query(spec: RegisterSpec, entry: ArchitectureEntry) -> ArchitectureQuery:
    shape, num_outputs = get_registered_shape(spec, entry)
    options = orjson.dumps(spec.architecture.options)
    return ArchitectureQuery(entry.name, options, shape if num_outputs else (), num_outputs)


def _build_query(job: TrainingSpec, dataset_info: DatasetInfo | None) -> ArchitectureQuery:
    spec, options = job.architecture, orjson.dumps(job.architecture.options)
    if dataset_info is None:
        return ArchitectureQuery(spec.name, options, (), 0)
    cardinalities = () if dataset_info.table is None else dataset_info.table.cardinalities
    query = ArchitectureQuery(
        spec.name, options, tuple(dataset_info.image_shape), dataset_info.num_outputs, cardinalities
    )
    if job.cache_features is True:
        return query._replace(freeze=job.freeze, freeze_bn_stats=job.freeze_bn_stats)
    return query
