"""Tests of measuring batch sizes and of choosing one."""

from pathlib import Path

import pytest

from tests.support.training import build_small_run, pack
from worker.engine.batch_size_finder import Trial, choose_batch_size, measure_samples_per_s, should_continue


@pytest.mark.parametrize(
    ("speeds", "strategy", "chosen"),
    [
        ([100, 180, 200, 205], "quickest", 32),  # 200 is within 5 % of 205
        ([100, 180, 200, 205], "largest", 64),
        ([100, None], "quickest", 8),
        ([100, 90, None], "largest", 16),
        ([None], "quickest", None),
    ],
)
def test_choice_is_the_smallest_size_close_to_the_highest_throughput(
    speeds: list[float | None], strategy: str, chosen: int | None
) -> None:
    assert choose_batch_size([Trial(8 * 2**i, speed) for i, speed in enumerate(speeds)], strategy) == chosen


@pytest.mark.parametrize(
    ("speeds", "expected"),
    [
        ([], True),
        ([100], True),
        ([100, 90], True),
        ([100, 90, 95], False),
        ([100, 90, 120], True),
        ([100, None], False),
    ],
)
def test_larger_sizes_are_tried_while_throughput_grows(speeds: list[float | None], expected: bool) -> None:
    assert should_continue([Trial(8 * 2**i, speed) for i, speed in enumerate(speeds)]) is expected


def test_throughput_is_the_median_without_the_first_step(tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "it", num_samples=90), batch_size=16)
    now = iter([100.0, 102.0, 104.0, 119.0])  # steps of 2, 2 and 15 seconds after a first one
    assert measure_samples_per_s(run, 3, clock=lambda: next(now)) == pytest.approx(8.0)


def test_measurement_continues_over_epochs(tmp_path: Path) -> None:
    run = build_small_run(pack(tmp_path / "it", num_samples=40), batch_size=16)  # two steps per epoch
    assert measure_samples_per_s(run, 5) is not None
