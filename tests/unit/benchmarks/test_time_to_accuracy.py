"""Tests of the comparison of trainings by their time to an accuracy."""

import argparse

import pytest

from benchmarks.plain_training import Job, Recipe
from benchmarks.time_to_accuracy import Curve, Round, count_flops, describe_rounds, parse_sides, run_round
from core.datasets.packed import PackedDataset
from tests.support.training import build_spec, cpu_placement

RECIPE = {"schedule": {"name": "one_cycle", "max_lr": 0.01}, "epochs": 2}


def build_curve(side: str, *points: tuple[float, float]) -> Curve:
    """Return a curve from pairs of seconds and accuracy."""
    times = iter([100.0, *(100.0 + seconds for seconds, _ in points)])
    curve = Curve(side, lambda: next(times))
    for epoch, (_, accuracy) in enumerate(points, 1):
        curve.add(epoch, accuracy)
    return curve


def build_round(plain_s: float) -> Round:
    engine = build_curve("engine", (1.0, 0.5), (2.0, 0.9), (4.0, 0.95))
    return Round({"engine": engine, "plain": build_curve("plain", (plain_s, 0.9), (8.0, 0.95))}, flops=800, peak=400.0)


def test_ratio_is_of_the_first_epochs_at_the_target() -> None:
    assert build_round(plain_s=3.0).compute_ratio("plain", 0.9) == 1.5
    assert build_round(plain_s=3.0).compute_ratio("plain", 0.99) is None


def test_share_is_of_the_peak_of_the_same_round() -> None:
    assert build_round(plain_s=3.0).compute_share("engine") == 0.5
    assert build_round(plain_s=3.0).compute_share("plain") == 0.25


def test_report_has_the_range_over_the_seeds() -> None:
    lines = list(describe_rounds([build_round(3.0), build_round(4.0), build_round(8.0)], ["engine", "plain"], 0.9))
    assert "time to 0.9 over the engine's: 1.50  2.00  4.00 (3 seeds)" in lines[-1]
    assert "FLOP/s over the matrix product: 0.250  0.250  0.250" in lines[-2]


def test_clock_of_a_round_times_the_peak_and_every_side(packed: PackedDataset) -> None:
    ticks = iter(range(10**6))
    job = Job(build_spec(**RECIPE), packed, cpu_placement())
    found = run_round(job, ["engine", "plain"], lambda: float(next(ticks)))
    assert [point.seconds for curve in found.curves.values() for point in curve] == [1, 2, 1, 2]
    assert found.peak == 2 * 2048**3


def test_plain_loop_makes_the_steps_of_the_engine(packed: PackedDataset) -> None:
    job = Job(build_spec(**RECIPE), packed, cpu_placement())
    assert len(Recipe(job).batches) == job.build_run().state.steps_per_epoch


@pytest.mark.packed(num_samples=60)  # 54 for training
@pytest.mark.parametrize(("drop_last", "num_images"), [(True, 48), (False, 54)])
def test_flops_are_of_the_trained_images_only(packed: PackedDataset, drop_last: bool, num_images: int) -> None:
    sizes = {"batch_size": 16, "drop_last": drop_last}
    flops = count_flops(Job(build_spec(**sizes, epochs=2), packed, cpu_placement()))
    one = count_flops(Job(build_spec(batch_size=54, epochs=1), packed, cpu_placement())) // 54
    assert flops == 2 * num_images * one


def test_unknown_sides_are_refused() -> None:
    assert parse_sides("engine,lightning") == ["engine", "lightning"]
    with pytest.raises(argparse.ArgumentTypeError, match=r"\['keras'\] must be of"):
        parse_sides("engine,keras")
