"""Builds the catalog of the components that job specs may use, with the JSON Schema of each component's options."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from app.serving.backend import ArchitectureEntry
from core.datasets import builtin
from core.spec.callbacks import CallbackSpec
from core.spec.losses import LossSpec
from core.spec.metrics import MetricSpec
from core.spec.optimizers import OptimizerSpec
from core.spec.schedules import ScheduleSpec
from core.spec.transforms import TransformSpec

SPEC_UNIONS: dict[str, Any] = {
    "optimizers": OptimizerSpec,
    "schedules": ScheduleSpec,
    "losses": LossSpec,
    "metrics": MetricSpec,
    "transforms": TransformSpec,
    "callbacks": CallbackSpec,
}


class CatalogEntry(NamedTuple):
    """A component in the catalog, for example `adamw`. `options` is the JSON Schema of the component's options."""

    name: str
    summary: str
    source: str | None
    options: dict[str, Any]


def build_catalog(architectures: Mapping[str, ArchitectureEntry]) -> dict[str, list[CatalogEntry]]:
    """Return the entries of each section of the catalog, for example `optimizers` or `datasets`."""
    return {
        "architectures": [
            CatalogEntry(entry.name, entry.summary, entry.source, _remove_name(entry.options))
            for entry in architectures.values()
        ],
        **_build_static_sections(),
    }


@lru_cache(maxsize=1)
def _build_static_sections() -> dict[str, list[CatalogEntry]]:
    return {
        **{
            part: [_describe_spec_class(kind) for kind in list_union_members(union)]
            for part, union in SPEC_UNIONS.items()
        },
        "datasets": [_describe_dataset(name) for name in builtin.list_names()],
    }


def list_union_members(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """Yield the pydantic models of a union type, including the models of nested and annotated unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from list_union_members(argument)


def _describe_spec_class(kind: type[BaseModel]) -> CatalogEntry:
    text = " ".join((kind.__doc__ or "").split())
    description, _, source = text.partition("Source: ")
    return CatalogEntry(
        kind.model_fields["name"].default,
        _extract_first_sentence(description),
        source.rstrip(".") or None,
        _build_options_schema(kind),
    )


def _describe_dataset(name: str) -> CatalogEntry:
    entry = builtin.get_dataset(name)
    return CatalogEntry(name, entry.summary, f"{entry.source} ({entry.licence})", _build_options_schema(entry.options))


def _build_options_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """Return the JSON Schema of a component's fields, without the field `name`."""
    return _remove_name(kind.model_json_schema())


def _remove_name(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in schema.get("properties", {}).items() if key != "name"}
    return {key: value for key, value in schema.items() if key != "description"} | {"properties": properties}


def _extract_first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?;])\s", text.strip(), maxsplit=1)[0].rstrip(".;")
