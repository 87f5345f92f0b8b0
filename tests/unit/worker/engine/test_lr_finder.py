"""Tests of the learning rates of a range test and of the suggestion."""

import math

import pytest

from worker.engine.lr_finder import LrFinderResult, LrRange


def test_log_range_multiplies_and_linear_range_adds() -> None:
    log = LrRange(1e-4, 1.0, steps=4)
    assert [log.compute_lr(step) for step in (1, 2, 3, 4)] == pytest.approx([1e-3, 1e-2, 1e-1, 1.0])
    linear = LrRange(0.0, 1.0, steps=4, spacing="linear")
    assert [linear.compute_lr(step) for step in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]


def test_suggestion_is_one_tenth_the_rate_with_the_lowest_loss() -> None:
    result = LrFinderResult()
    for rate, loss in ((0.001, 2.0), (0.01, 1.0), (0.1, 0.1), (1.0, 9.0)):
        result.add_step(rate, loss)
    assert result.lowest_index == 2
    assert result.suggestion == pytest.approx(0.01)
    assert result.smoothed[0] == pytest.approx(2.0)  # the bias is corrected


def test_rising_loss_gives_no_suggestion() -> None:
    result = LrFinderResult()
    for rate, loss in ((0.001, 1.0), (0.01, 2.0)):
        result.add_step(rate, loss)
    assert (result.lowest_index, result.suggestion, result.steepest) == (None, None, None)


@pytest.mark.parametrize("loss", [math.nan, math.inf, 1e6])
def test_range_test_diverges_at_a_large_or_non_finite_loss(loss: float) -> None:
    result = LrFinderResult()
    result.add_step(0.001, 1.0)
    result.add_step(0.01, loss)
    assert result.is_diverged
