"""What there is to choose from: every kind of every part of a spec, with the JSON Schema of its options."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel

from app.serving.backend import Architecture
from core.datasets import builtin
from core.spec.callbacks import CallbackSpec
from core.spec.losses import LossSpec
from core.spec.metrics import MetricSpec
from core.spec.optimizers import OptimizerSpec
from core.spec.schedules import ScheduleSpec
from core.spec.transforms import TransformSpec

UNIONS: dict[str, Any] = {
    "optimizers": OptimizerSpec,
    "schedules": ScheduleSpec,
    "losses": LossSpec,
    "metrics": MetricSpec,
    "transforms": TransformSpec,
    "callbacks": CallbackSpec,
}


class Entry(NamedTuple):
    """One thing to choose. `options` is a JSON Schema."""

    name: str
    summary: str
    source: str | None
    options: dict[str, Any]


def catalog(architectures: Mapping[str, Architecture]) -> dict[str, list[Entry]]:
    """Everything, by the part of a spec that it is for."""
    return {
        "architectures": [
            Entry(one.name, one.summary, one.source, _bare(one.options)) for one in architectures.values()
        ],
        **_others(),
    }


@lru_cache(maxsize=1)
def _others() -> dict[str, list[Entry]]:
    return {
        **{part: [_member(kind) for kind in members(union)] for part, union in UNIONS.items()},
        "datasets": [_dataset(name) for name in builtin.names()],
    }


def members(annotation: Any) -> Iterator[type[BaseModel]]:  # noqa: ANN401 - any annotation
    """The classes of a union, however deeply annotated."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        return
    for argument in get_args(annotation):
        yield from members(argument)


def _member(kind: type[BaseModel]) -> Entry:
    text = " ".join((kind.__doc__ or "").split())
    told, _, source = text.partition("Source: ")
    return Entry(kind.model_fields["name"].default, _first_sentence(told), source.rstrip(".") or None, _options(kind))


def _dataset(name: str) -> Entry:
    entry = builtin.get(name)
    return Entry(name, entry.summary, f"{entry.source} ({entry.licence})", _options(entry.options))


def _options(kind: type[BaseModel]) -> dict[str, Any]:
    """The JSON Schema of what may stand beside `name`."""
    return _bare(kind.model_json_schema())


def _bare(schema: Mapping[str, Any]) -> dict[str, Any]:
    properties = {key: value for key, value in schema.get("properties", {}).items() if key != "name"}
    return {key: value for key, value in schema.items() if key != "description"} | {"properties": properties}


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?;])\s", text.strip(), maxsplit=1)[0].rstrip(".;")
