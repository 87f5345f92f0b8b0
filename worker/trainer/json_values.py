"""Converts numbers to JSON values. JSON has no NaN and no infinity, so these are converted to strings."""

import math
from typing import Any, Literal


def to_json_float(value: float) -> float | Literal["NaN", "Infinity", "-Infinity"]:
    """Return a finite number unchanged, and NaN or infinity as a string."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def to_json_floats(values: dict[str, float]) -> dict[str, float | str]:
    """Convert every value with `to_json_float`."""
    return {name: to_json_float(value) for name, value in values.items()}


def to_json_values(values: dict[str, Any]) -> dict[str, Any]:
    """Convert every float with `to_json_float`, also in lists, and keep other values unchanged."""
    return {name: _to_json_value(value) for name, value in values.items()}


def _to_json_value(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, list):
        return [_to_json_value(item) for item in value]
    return to_json_float(value) if isinstance(value, float) else value
