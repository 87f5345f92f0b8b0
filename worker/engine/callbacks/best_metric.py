"""Tracks the best value of a metric, for callbacks that compare epochs."""

import math
from typing import Any, Literal

from core.metric_direction import get_direction

Mode = Literal["auto", "min", "max", "zero"]


class BestMetric:
    """Tracks the best value of the metric `monitor`. An improvement of at most `min_delta` does not count.

    NaN and infinite values are never better. In the mode "zero", the value closest to zero is the best.
    """

    def __init__(
        self, monitor: str, mode: Mode = "auto", min_delta: float = 0.0, baseline: float | None = None
    ) -> None:
        self.monitor = monitor
        self._sign = 1.0 if (get_direction(monitor) if mode == "auto" else mode) == "max" else -1.0
        self._is_distance = mode == "zero"
        self._min_delta = min_delta
        self.best = abs(baseline) if self._is_distance and baseline is not None else baseline

    def update(self, value: float) -> bool:
        """Record a value. Return True if it is better than the best value so far."""
        if not math.isfinite(value):
            return False
        value = abs(value) if self._is_distance else value
        if self.best is not None and self._sign * (value - self.best) <= self._min_delta:
            return False
        self.best = value
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.best = state_dict["best"]
