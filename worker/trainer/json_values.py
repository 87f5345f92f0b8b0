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
    """Convert every float with `to_json_float`, and keep other values unchanged."""
    return {name: to_json_float(value) if isinstance(value, float) else value for name, value in values.items()}
