"""Decides from the name of a metric whether a higher or a lower value is better."""

from typing import Literal

GREATER_IS_BETTER = ("accuracy", "precision", "recall", "f1", "auroc", "r2")


def get_direction(monitor: str) -> Literal["min", "max"]:
    """Return "max" for scores such as `valid_accuracy`, and "min" for losses, errors and all other metrics."""
    name = monitor.split("_", 1)[-1]
    return "max" if name.startswith(GREATER_IS_BETTER) or name.endswith("accuracy") else "min"
