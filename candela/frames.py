"""Builds pandas DataFrames from metrics. pandas is an optional dependency, which is imported on first use."""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING

from candela.errors import CandelaError
from candela.types import CurveGrid, Number, Series, UsageSeries

if TYPE_CHECKING:
    from pandas import DataFrame

Columns = dict[str, dict[int, float]]  # {column: {step: value}}
AXIS_NAMES = {"step": "step", "epoch": "epoch", "time": "seconds"}


def require_pandas(method: str) -> None:
    """Check that pandas is installed.

    Raises:
        CandelaError: pandas is not installed. The message says how to install it.
    """
    if importlib.util.find_spec("pandas") is None:
        raise CandelaError(f"{method}() requires pandas, which is not installed: pip install 'candela-ml[pandas]'")


def build_metrics_frame(series: Sequence[Series]) -> "DataFrame":
    """Return one row per step, and the columns `epoch` and, for example, `valid_loss`. Missing values are NaN."""
    epochs: dict[int, float] = {}
    columns: Columns = {"epoch": epochs}
    for one in series:
        values = columns.setdefault(f"{one['split']}_{one['name']}", {})
        for point in one["points"]:
            values[point["step"]] = float(point["value"])
            epochs[point["step"]] = point["epoch"]
    return _build_frame(columns)


def build_usage_frame(series: Sequence[UsageSeries]) -> "DataFrame":
    """Return one row per step, and the columns `epoch`, `seconds` and, for example, `cpu_percent`."""
    epochs: dict[int, float] = {}
    seconds: dict[int, float] = {}
    columns: Columns = {"epoch": epochs, "seconds": seconds}
    for one in series:
        values = columns.setdefault(one["name"], {})
        for point in one["points"]:
            values[point["step"]] = float(point["value"])
            epochs[point["step"]] = point["epoch"]
            seconds[point["step"]] = _parse_number(point["seconds"])
    return _build_frame(columns)


def build_curves_frame(grid: CurveGrid, *, has_many_curves: bool = False) -> "DataFrame":
    """Return one row per bucket and one column per job, with the last value of each bucket.

    With `has_many_curves`, there is one column per job and curve, such as `("ID", "valid/loss")`.
    """
    import pandas as pd

    index = pd.Index(grid["x"], name=AXIS_NAMES[grid["axis"]])
    columns = {
        (one["job"], f"{one.get('split')}/{one.get('name')}") if has_many_curves else one["job"]: [
            _parse_number(value) for value in one["last"]
        ]
        for one in grid["series"]
    }
    frame = pd.DataFrame(columns, index=index, dtype=float)
    return frame.rename_axis(columns=["job", "curve"]) if has_many_curves and columns else frame


def _build_frame(columns: Columns) -> "DataFrame":
    """Return the columns, sorted by step. Each step has an epoch."""
    import pandas as pd

    frame = pd.DataFrame({name: pd.Series(values, dtype=float) for name, values in columns.items()})
    return frame.astype({"epoch": int}).rename_axis(index="step").sort_index()


def _parse_number(value: Number | None) -> float:
    """Return a number of a response. JSON has no NaN and infinity, so they are strings, which `float` reads."""
    return float("nan") if value is None else float(value)
