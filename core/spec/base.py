"""Defines the base class of all specs, and field types that several specs use."""

from functools import partial
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from core.spec.shorthand import expand_fields, get_forms

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"
ENTRY_NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"

Name = Annotated[
    str,
    Field(
        pattern=NAME_PATTERN,
        description="1 to 63 lower-case letters, digits, dots, underscores or hyphens. The first is a letter or digit.",
    ),
]
EntryName = Annotated[  # capitals are allowed, so that the error of `FashionMNIST` suggests `fashion_mnist`
    str, Field(pattern=ENTRY_NAME_PATTERN, description="The name of an existing entry. Unknown names are refused.")
]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
ShareOrZero = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e12)]
NonNegative = Annotated[float, Field(ge=0.0, le=1e12)]
Signed = Annotated[float, Field(ge=-1e12, le=1e12)]
Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="A pattern for parameter names: `*` matches any text, `?` matches one character.",
    ),
]
Monitor = Annotated[
    str,
    Field(
        max_length=100,
        description="The monitored metric: `<train|valid>_<metric>`, for example `valid_loss`. Default: `valid_loss`, "
        "or `train_loss` if `dataset.valid` is 0.",
    ),
]
LR_DESCRIPTION = (
    "With several optimizers, the value applies to the first part. Parameter groups and parts with other learning "
    "rates keep their ratio to this learning rate."
)
SpecVersion = Annotated[Literal[1], Field(description="The version of the format of the spec.")]
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


FieldError = tuple[str, str]
"""A JSON pointer and an error message. The pointer is relative to the spec; "" refers to the whole spec."""


class Spec(BaseModel):
    """The base class of all specs: frozen and strict. Unknown fields and non-finite numbers are rejected.

    Strict means that `true` and `"10"` are not accepted as integers. Tuple fields set `Field(strict=False)`, so that
    JSON arrays are accepted. Short forms are expanded: see `core.spec.shorthand`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the fields that select the member of a union: each has one possible value."""
        json_schema = handler(schema)
        for field in handler.resolve_ref_schema(json_schema).get("properties", {}).values():
            if "const" in field:
                field.setdefault("description", f"Always `{field['const']}`.")
        return json_schema

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Expand short forms before all other validators. A class whose fields have none is not changed."""
        schema = handler(source)
        if any(form.has_shorthand for form in get_forms(cls).values()):
            _add_expansion(cls, handler.resolve_ref_schema(schema))
        return schema


def _add_expansion(cls: type[Spec], schema: CoreSchema) -> None:
    """Make the schema of a class expand short forms. It keeps its reference, which names it in JSON Schemas."""
    model: dict[str, Any] = cast("dict[str, Any]", schema)
    while model["type"] != "model":  # inside of the validators that run after the fields
        model = model["schema"]
    fields = model["schema"]
    is_added = (
        fields["type"] == "function-before" and getattr(fields["function"]["function"], "func", None) is expand_fields
    )
    if not is_added:
        model["schema"] = core_schema.no_info_before_validator_function(partial(expand_fields, cls), fields)
