"""A seeded series like an electricity demand by the hour: days, weeks, a temperature that drives it, and noise."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator

from core.datasets.definition import BuiltinDataset, DatasetInfo
from core.datasets.tables.columns import Column, Table
from core.datasets.tables.time_windows import make_windows
from core.datasets.tables.writer import TableSplit
from core.spec.base import Share, Spec

_NAMES = ("demand", "temperature")
_BASE_MW, _DAY_MW, _WEEK_MW, _HEAT_MW, _NOISE_MW = 4500.0, 700.0, 400.0, 35.0, 60.0


class SeriesOptions(Spec):
    """`num_hours` from the first of January of some year on, as windows that predict the demand after them."""

    num_hours: Annotated[int, Field(ge=16, le=2_000_000)] = 24 * 7 * 52
    window: Annotated[int, Field(ge=1, le=100_000)] = Field(default=168, description="Hours that are seen.")
    horizon: Annotated[int, Field(ge=1, le=10_000)] = Field(default=1, description="Hours that are predicted.")
    valid_share: Share = Field(default=0.2, description="Of the series, after what is trained on.")
    test_share: Annotated[float, Field(ge=0.0, lt=1.0)] = Field(default=0.0, description="Of the series, at its end.")
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)] = 0

    @model_validator(mode="after")
    def _check_lengths(self) -> Self:
        lengths = self.split_lengths
        if min(length for length in lengths if length or lengths.index(length) < 2) < self.window + self.horizon:
            raise ValueError(
                f"of {self.num_hours} hours, {lengths[0]} are for training, {lengths[1]} for validation and "
                f"{lengths[2]} for testing; each must have {self.window + self.horizon}, a window and what follows it"
            )
        return self

    @property
    def split_lengths(self) -> tuple[int, int, int]:
        """Hours of train, valid and test."""
        num_valid, num_test = round(self.num_hours * self.valid_share), round(self.num_hours * self.test_share)
        return self.num_hours - num_valid - num_test, num_valid, num_test


def _build_info(options: SeriesOptions, _folder: Path | None) -> DatasetInfo:
    table = Table(
        columns=tuple(Column(name=name) for name in _NAMES),
        targets=_NAMES[:1],
        window=options.window,
        horizon=options.horizon,
    )
    classes = tuple(f"{_NAMES[0]}+{step}" for step in range(1, options.horizon + 1))
    unused = options.window + options.horizon - 1
    splits = {name: n - unused for name, n in zip(("train", "valid", "test"), options.split_lengths, strict=True) if n}
    return DatasetInfo("regression", classes, options.horizon, table.sample_shape, splits, table)


def generate_series(num_hours: int, seed: int) -> NDArray[np.float64]:
    """Return demand in MW and temperature in degrees Celsius, (num_hours, 2)."""
    rng = np.random.default_rng([seed, 2])
    hour = np.arange(num_hours)
    drift = np.zeros(num_hours)
    steps = rng.normal(0.0, 0.35, num_hours)
    for i in range(1, num_hours):  # weather: it lasts for days
        drift[i] = 0.98 * drift[i - 1] + steps[i]
    temperature = 15 - 8 * np.cos(2 * np.pi * hour / (24 * 365)) - 4 * np.cos(2 * np.pi * (hour - 3) / 24) + drift
    day = -np.cos(2 * np.pi * (hour - 3) / 24) + 0.4 * np.sin(4 * np.pi * (hour - 6) / 24)
    is_weekend = hour // 24 % 7 >= 5
    demand = _BASE_MW + _DAY_MW * day - _WEEK_MW * is_weekend + _HEAT_MW * np.abs(temperature - 17)
    return np.stack([demand + rng.normal(0.0, _NOISE_MW, num_hours), temperature], axis=1)


def _generate_windows(_folder: Path, options: SeriesOptions) -> Mapping[str, TableSplit]:
    table = _build_info(options, None).table
    assert table is not None  # noqa: S101 - the line above
    values = generate_series(options.num_hours, options.seed)
    shares = (options.valid_share, options.test_share)
    return make_windows(table, values.astype(np.float32), values[:, :1], np.arange(options.num_hours), shares)


TIMESERIES = BuiltinDataset(
    name="timeseries",
    summary="A seeded series like an electricity demand by the hour, as windows; needs no files.",
    source="made by Candela: daily and weekly cycles, a temperature, and noise",
    licence="none needed",
    options=SeriesOptions,
    build_info=_build_info,
    read_rows=_generate_windows,
)
