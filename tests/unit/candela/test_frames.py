"""DataFrames of metrics, usage and curves, and the message if pandas is not installed."""

import importlib.util
import math
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from candela import CandelaError, Client
from candela.frames import build_curves_frame, build_metrics_frame, build_usage_frame
from candela.types import CurveGrid, Series, UsageSeries

TRAIN: Any = [{"step": step, "epoch": (step + 1) // 2, "value": 4.0 - step} for step in (1, 2, 3)]
SERIES: list[Series] = [
    {"name": "loss", "split": "train", "points": TRAIN},
    {"name": "loss", "split": "valid", "points": [{"step": 2, "epoch": 1, "value": "NaN"}]},
    {"name": "accuracy", "split": "valid", "points": [{"step": 4, "epoch": 2, "value": 0.5}]},
]


def test_metrics_have_one_row_per_step_and_one_column_per_split_and_metric() -> None:
    frame = build_metrics_frame(SERIES)
    assert list(frame.columns) == ["epoch", "train_loss", "valid_loss", "valid_accuracy"]
    assert (frame.index.name, list(frame.index)) == ("step", [1, 2, 3, 4])
    assert list(frame["epoch"]) == [1, 1, 2, 2]
    assert frame["epoch"].dtype == int
    assert frame.loc[4, "valid_accuracy"] == 0.5
    assert frame["train_loss"].dropna().to_dict() == {1: 3.0, 2: 2.0, 3: 1.0}


def test_values_that_are_not_finite_are_numbers() -> None:
    points: Any = [{"step": n, "epoch": 1, "value": value} for n, value in enumerate(["NaN", "Infinity", "-Infinity"])]
    frame = build_metrics_frame([{"name": "loss", "split": "train", "points": points}])
    assert math.isnan(frame["train_loss"][0])
    assert list(frame["train_loss"])[1:] == [math.inf, -math.inf]


@pytest.mark.parametrize("build", [build_metrics_frame, build_usage_frame])
def test_a_job_without_values_has_an_empty_frame(build: Callable[[list[Any]], pd.DataFrame]) -> None:
    frame = build([])
    assert len(frame) == 0
    assert "epoch" in frame.columns


def test_usage_has_the_time_and_one_column_per_quantity() -> None:
    points: Any = [
        {"step": 1, "epoch": 1, "seconds": 0.5, "value": 90},
        {"step": 2, "epoch": 1, "seconds": None, "value": 80},
    ]
    series: list[UsageSeries] = [{"name": "cpu_percent", "unit": "percent", "points": points}]
    frame = build_usage_frame(series)
    assert list(frame.columns) == ["epoch", "seconds", "cpu_percent"]
    assert frame.loc[1].to_dict() == {"epoch": 1, "seconds": 0.5, "cpu_percent": 90}
    assert math.isnan(frame.loc[2, "seconds"])


@pytest.mark.parametrize(("axis", "name"), [("step", "step"), ("epoch", "epoch"), ("time", "seconds")])
def test_curves_have_one_column_per_job(axis: Any, name: str) -> None:
    empty: dict[str, list[Any]] = {"min": [], "max": [], "count": [], "non_finite": []}
    series: Any = [{"job": "a", "last": [1.0, None], **empty}, {"job": "b", "last": [2.0, 3.0], **empty}]
    grid: CurveGrid = {"axis": axis, "width": 1.0, "x": [0.0, 1.0], "series": series}
    frame = build_curves_frame(grid)
    assert (frame.index.name, list(frame.columns)) == (name, ["a", "b"])
    assert math.isnan(frame["a"][1.0])
    assert list(frame["b"]) == [2.0, 3.0]


def test_several_curves_have_one_column_per_job_and_curve() -> None:
    empty: dict[str, list[Any]] = {"min": [], "max": [], "count": [], "non_finite": []}
    names = [("a", "train", "loss"), ("a", "valid", "loss"), ("b", "train", "loss")]
    series: Any = [{"job": job, "split": split, "name": name, "last": [1.0], **empty} for job, split, name in names]
    frame = build_curves_frame({"axis": "step", "width": 1.0, "x": [0.0], "series": series}, has_many_curves=True)
    assert list(frame.columns) == [("a", "train/loss"), ("a", "valid/loss"), ("b", "train/loss")]
    assert list(frame.columns.names) == ["job", "curve"]
    assert list(frame["a"].columns) == ["train/loss", "valid/loss"]


def test_a_job_returns_its_metrics_as_a_frame(server: Any, client: Client, job_answer: Callable[..., Any]) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    server.json("GET /v1/jobs/j1/metrics", {"series": SERIES})
    frame = client.jobs.get("j1").metrics_frame(name="loss")
    assert frame["valid_accuracy"].max() == 0.5
    assert server.seen[-1].query == {"name": "loss"}


def test_without_pandas_the_error_says_what_to_install(
    server: Any, client: Client, job_answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.json("GET /v1/jobs/j1", job_answer())
    job = client.jobs.get("j1")
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "pandas" else find_spec(name))
    curves: Callable[[], Any] = lambda: client.jobs.curves_frame(["j1"], "loss", "valid")  # noqa: E731
    methods: list[Callable[[], Any]] = [job.metrics_frame, job.usage_frame, curves]
    for method in methods:
        with pytest.raises(CandelaError, match=r"requires pandas.*pip install 'candela-ml\[pandas\]'"):
            method()
    assert len(server.seen) == 1
