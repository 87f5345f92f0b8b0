"""The base of everything a client may ask for: frozen, strict, closed to unknown fields, finite numbers only."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

NAME_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,62}$"

Name = Annotated[str, Field(pattern=NAME_PATTERN, description="Lower-case letters, digits, dot, underscore, hyphen.")]
Probability = Annotated[float, Field(ge=0.0, le=1.0)]
Share = Annotated[float, Field(gt=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0, le=1e12)]
NonNegative = Annotated[float, Field(ge=0.0, le=1e12)]
Pattern = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="A pattern for parameters' names: `*` stands for any text, `?` for one character.",
    ),
]
LR_DESCRIPTION = (
    "It is the rate of the optimizer itself, of several optimizers that of the first part; groups and parts of other "
    "learning rates keep their ratio to it."
)
Count = Annotated[int, Field(ge=1, le=2**31 - 1)]


FieldError = tuple[str, str]
"""A path below a part of a spec, such as `/padding`, empty for the whole part; and what is wrong there."""


class Spec(BaseModel):
    """A request in words.

    Strict means that `true` or `"10"` is no integer; a JSON array still becomes a tuple, field by field
    (`Field(strict=False)` on the array, not on its members).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
