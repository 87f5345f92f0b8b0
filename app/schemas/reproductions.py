"""The request body of the reproduction endpoints."""

from typing import Annotated

from pydantic import ConfigDict, Field, JsonValue

from core.spec.base import Spec
from core.spec.job import MAX_OPTIONS


class ReproduceIn(Spec):
    """What the reproduction does differently, for example to see the effect of another seed."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"changes": {"seed": 2}}]})

    changes: Annotated[dict[str, JsonValue], Field(max_length=MAX_OPTIONS)] = Field(
        default={},
        description="A JSON merge patch (RFC 7396) for the spec; a field that is `null` gets its default. Default: "
        "nothing is changed.",
        examples=[{"seed": 2}],
    )
