"""Parses and resolves job specs of every kind."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from pydantic import ValidationError

from app.services.validation.context import ResolvedSpec, ValidationContext
from app.services.validation.defaults import generate_name
from app.services.validation.report import reject_all
from app.services.validation.rules import RULES
from core.db.tables import ModelVersionRow
from core.spec import ANY_JOB, AnyJobSpec, DatasetSpec, ModelJobSpec, RegisterSpec
from core.spec.base import Spec
from core.spec.error_pointers import to_pointers
from core.spec.job_kinds import SPEC_BY_KIND


def resolve(job: ValidationContext) -> ResolvedSpec:
    """Validate a job with the rules of its kind, and return its spec with all defaults.

    Raises:
        InvalidSpec: the spec is invalid; the exception has a JSON pointer and a reason for each error.
    """
    return RULES[job.spec.kind].resolve(job)


def check_spec(job: ValidationContext) -> None:
    """Apply the rules that do not depend on the dataset. Use it while the dataset is imported.

    Raises:
        InvalidSpec: the spec is invalid; the exception has a JSON pointer and a reason for each error.
    """
    RULES[job.spec.kind].check_spec(job)


def parse_job_spec(document: Mapping[str, Any]) -> AnyJobSpec:
    """Parse a JSON document as a job spec.

    Raises:
        InvalidSpec: a field is missing, unknown or invalid.
    """
    try:
        return ANY_JOB.validate_python(dict(document))
    except ValidationError as error:
        reject_all(to_pointers(error.errors(include_url=False), _build_job_schema()))


def parse_dataset_options(schema: type[Spec], options: Mapping[str, Any], pointer: str) -> dict[str, Any]:
    """Parse the options of a built-in dataset and fill in all defaults.

    Raises:
        InvalidSpec: an option is missing, unknown or invalid. The JSON pointers of the errors start with `pointer`.
    """
    try:
        return schema.model_validate(dict(options)).model_dump(mode="json")
    except ValidationError as error:
        reject_all(to_pointers(error.errors(include_url=False), _build_options_schema(schema), pointer))


@lru_cache(maxsize=1)
def _build_job_schema() -> dict[str, Any]:
    """Return the JSON Schema of a job, whose generation takes 100 times as long as the validation of a job."""
    return ANY_JOB.json_schema()


@lru_cache(maxsize=64)
def _build_options_schema(schema: type[Spec]) -> dict[str, Any]:
    """Return the JSON Schema of a built-in dataset in a job: its options, and the fields that all datasets have."""
    json_schema = schema.model_json_schema()
    json_schema["properties"] = json_schema.get("properties", {}) | {name: {} for name in DatasetSpec.model_fields}
    return json_schema


def find_model_reference(spec: AnyJobSpec) -> tuple[str, str] | None:
    """Return the JSON pointer and the value of the spec's model reference; None if the spec has no reference."""
    if isinstance(spec, ModelJobSpec):
        return "/model", spec.model
    if isinstance(spec, RegisterSpec):
        return None
    return None if spec.init_from is None else ("/init_from", spec.init_from)


def list_fields(kind: str) -> frozenset[str]:
    """Return the field names of a spec of this job kind; empty if the kind is unknown."""
    fields = SPEC_BY_KIND[kind].model_fields if kind in SPEC_BY_KIND else {}
    return frozenset(field.alias or name for name, field in fields.items())


def pin_unresolved_spec(spec: AnyJobSpec, version: int) -> AnyJobSpec:
    """Return the spec with a name and the dataset version, for a job whose dataset is still being imported."""
    assert spec.dataset is not None  # noqa: S101 - the caller waits for the import of the dataset
    name = spec.name or generate_name(spec)
    dataset = spec.dataset.model_copy(update={"version": version})
    return spec.model_copy(update={"name": name, "model": spec.model or name, "dataset": dataset})


def get_training_dataset(row: ModelVersionRow) -> DatasetSpec | None:
    """Return the dataset that a model version was trained on, without its training transforms.

    None: the version was registered without training.
    """
    if "dataset" not in row.spec:
        return None
    return DatasetSpec.model_validate(
        {key: value for key, value in row.spec["dataset"].items() if key != "train_transforms"}
    )
