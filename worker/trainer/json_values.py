"""Converts numbers to JSON, which cannot represent non-finite ones."""

import math
from typing import Any, Literal


def to_json_float(value: float) -> float | Literal["NaN", "Infinity", "-Infinity"]:
    """Return a finite number as it is, and any other as a string."""
    if math.isfinite(value):
        return value
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def to_json_floats(values: dict[str, float]) -> dict[str, float | str]:
    """Convert every value."""
    return {name: to_json_float(value) for name, value in values.items()}


def to_json_values(values: dict[str, Any]) -> dict[str, Any]:
    """Convert every number, and leave other values as they are."""
    return {name: to_json_float(value) if isinstance(value, float) else value for name, value in values.items()}
