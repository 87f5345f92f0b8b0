"""Defines the parameters of a sweep's search space: their ranges, steps and conditions, and what values they have."""

import json
import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, StrictBool, StrictFloat, StrictInt, StrictStr, model_validator

from core.spec.base import Positive, Signed, Spec
from core.spec.error_reasons import shorten
from core.sweeps.json_pointers import POINTER

MAX_VALUE_JSON = 4096
"""Maximum number of characters of a value of a choice, as JSON."""
MAX_INTEGER = 2**53

Pointer = Annotated[
    str,
    Field(
        pattern=POINTER,
        max_length=200,
        description="A JSON pointer (RFC 6901) to a field of the job spec, such as `/optimizer/lr`.",
        examples=["/optimizer/lr"],
    ),
]
Integer = Annotated[int, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
Scalar = (
    Annotated[StrictStr, Field(max_length=200)]
    | StrictBool
    | Annotated[StrictInt, Field(ge=-MAX_INTEGER, le=MAX_INTEGER)]
    | Annotated[StrictFloat, Field(ge=-1e12, le=1e12)]
    | None
)
Conditions = Annotated[
    dict[Pointer, Scalar | Annotated[tuple[Scalar, ...], Field(strict=False, min_length=1, max_length=100)]],
    Field(
        max_length=10,
        description="Conditions for the parameter: JSON pointers with the value, or an array of the values, that the "
        "job spec must have there. A trial whose spec does not meet all of them does not have the parameter.",
        examples=[{"/optimizer/name": "sgd"}],
    ),
]


class ParameterBase(Spec):
    """Base class of parameters. A parameter has a finite number of values, or any value of a range."""

    when: Conditions | None = Field(default=None, description="When trials have the parameter. Default: always.")

    @property
    def num_values(self) -> int | None:
        """The number of values; None for a continuous range."""
        raise NotImplementedError

    def get_value(self, index: int) -> JsonValue:
        """Return the value at an index from 0 to `num_values` - 1."""
        raise NotImplementedError

    def to_unit(self, value: Any) -> float:  # noqa: ANN401 - any JSON value
        """Return the position of a value, from 0 to 1."""
        raise NotImplementedError

    def from_unit(self, position: float) -> JsonValue:
        """Return the value at a position from 0 to 1. Uniform positions give the distribution of a random search."""
        count = self.num_values or 1
        return self.get_value(min(int(position * count), count - 1))

    def find_error(self, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
        """Return why a value is not a value of the parameter; None if it is."""
        raise NotImplementedError


class NumericParameter(ParameterBase):
    """Fields and methods of both kinds of numbers."""

    low: float
    high: float
    log: bool = Field(default=False, description="Whether the values are distributed evenly on a logarithmic scale.")
    step: float | None

    @model_validator(mode="after")
    def _check_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"low must be less than high; got {shorten(self.low)} and {shorten(self.high)}")
        if self.log and self.low <= 0:
            raise ValueError(f"low must be greater than 0 on a logarithmic scale; got {shorten(self.low)}")
        if self.log and self.has_step:
            raise ValueError("step cannot be combined with log")
        return self

    @property
    def has_step(self) -> bool:
        """Whether the values are fewer than all numbers of the type."""
        return self.step is not None

    def to_unit(self, value: Any) -> float:  # noqa: ANN401 - any JSON value
        """Return the position of a number in the range, from 0 to 1."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max(float(value - low) / (high - low), 0.0), 1.0)

    def find_nearest(self, value: float) -> JsonValue:
        """Return the value of the parameter that is nearest to a number."""
        if self.step is not None:
            return self.get_value(min(max(round((value - self.low) / self.step), 0), (self.num_values or 1) - 1))
        return min(max(value, self.low), self.high)

    def find_error(self, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
        """Return why a number is outside of the range. A number between two steps is accepted."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"should be a number, not {shorten(value)}"
        if not self.low <= value <= self.high:
            return f"should be from {shorten(self.low)} to {shorten(self.high)}, not {shorten(value)}"
        return None


class FloatParameter(NumericParameter):
    """A number from `low` to `high`."""

    type: Literal["float"] = Field(description="The type of the parameter.")
    low: Signed = Field(description="The lowest value.")
    high: Signed = Field(description="The highest value.")
    step: Positive | None = Field(
        default=None, description="The distance between two values, counted from `low`. Default: any number."
    )

    @property
    def num_values(self) -> int | None:
        """The number of steps; None without `step`."""
        return None if self.step is None else math.floor((self.high - self.low) / self.step + 1e-9) + 1

    def get_value(self, index: int) -> float:
        """Return the number after `index` steps."""
        return min(float(f"{self.low + index * (self.step or 0.0):.12g}"), self.high)

    def from_unit(self, position: float) -> JsonValue:
        """Return the number at a position from 0 to 1."""
        if self.step is not None:
            return super().from_unit(position)
        if self.log:
            value = math.exp(math.log(self.low) + position * (math.log(self.high) - math.log(self.low)))
        else:
            value = self.low + position * (self.high - self.low)
        return min(max(value, self.low), self.high)


class IntParameter(NumericParameter):
    """An integer from `low` to `high`."""

    type: Literal["int"] = Field(description="The type of the parameter.")
    low: Integer = Field(description="The lowest value.")
    high: Integer = Field(description="The highest value.")
    step: Annotated[int, Field(ge=1, le=MAX_INTEGER)] = Field(
        default=1, description="The distance between two values, counted from `low`."
    )

    @property
    def has_step(self) -> bool:
        """Whether the values are not all integers of the range."""
        return self.step > 1

    @property
    def num_values(self) -> int:
        """The number of integers or steps."""
        return (self.high - self.low) // self.step + 1

    def get_value(self, index: int) -> int:
        """Return the integer after `index` steps."""
        return self.low + index * self.step

    def from_unit(self, position: float) -> JsonValue:
        """Return the integer at a position from 0 to 1."""
        if not self.log:
            return super().from_unit(position)
        value = math.exp(math.log(self.low) + position * (math.log(self.high + 1) - math.log(self.low)))
        return min(max(math.floor(value), self.low), self.high)

    def find_error(self, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
        """Return why a value is not an integer of the range."""
        if isinstance(value, float):
            return f"should be an integer, not {shorten(value)}"
        return super().find_error(value)


class ChoiceParameter(ParameterBase):
    """One of several values, in no order. A value can be an object or an array."""

    type: Literal["choice"] = Field(description="The type of the parameter.")
    values: Annotated[tuple[JsonValue, ...], Field(strict=False, min_length=1, max_length=100)] = Field(
        description="The values.", examples=[[16, 32, 64], [{"name": "adam"}, {"name": "sgd", "momentum": 0.9}]]
    )

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        texts = [encode_value(value) for value in self.values]
        if any(len(text) > MAX_VALUE_JSON for text in texts):
            raise ValueError(f"values must have at most {MAX_VALUE_JSON} characters each, as JSON")
        duplicate = next((text for index, text in enumerate(texts) if text in texts[:index]), None)
        if duplicate is not None:
            raise ValueError(f"values must be different; {duplicate[:40]} occurs more than once")
        return self

    @property
    def num_values(self) -> int:
        """The number of values."""
        return len(self.values)

    def get_value(self, index: int) -> JsonValue:
        """Return the value at an index."""
        return self.values[index]

    def find_index(self, value: Any) -> int | None:  # noqa: ANN401 - any JSON value
        """Return the index of a value; None if it is not one of the values."""
        text = encode_value(value)
        return next((index for index, each in enumerate(self.values) if encode_value(each) == text), None)

    def to_unit(self, value: Any) -> float:  # noqa: ANN401 - any JSON value
        """Return the position of a value in the array, from 0 to 1."""
        return (self.find_index(value) or 0) / max(len(self.values) - 1, 1)

    def find_error(self, value: Any) -> str | None:  # noqa: ANN401 - any JSON value
        """Return why a value is not one of the values."""
        if self.find_index(value) is not None:
            return None
        accepted = ", ".join(shorten(each) for each in self.values[:10])
        return f"should be one of the values of the parameter ({accepted}), not {shorten(value)}"


ParameterSpec = Annotated[FloatParameter | IntParameter | ChoiceParameter, Field(discriminator="type")]
Space = Mapping[str, FloatParameter | IntParameter | ChoiceParameter]
Parameters = Mapping[str, JsonValue]
"""The values of the parameters of a trial, keyed by JSON pointer."""


def encode_value(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Return a value as JSON with sorted keys, so that equal values have equal texts."""
    try:
        return json.dumps(value, sort_keys=True, allow_nan=False)
    except ValueError as error:
        raise ValueError("values must not contain NaN or infinite numbers") from error
