"""Tests of what counts as better."""

from worker.engine.callbacks.best_metric import BestMetric


def test_better_means_by_more_than_min_delta() -> None:
    record = BestMetric("valid_loss", min_delta=0.1)
    assert [record.update(value) for value in (1.0, 0.95, 0.9, 0.7)] == [True, False, False, True]


def test_mode_zero_prefers_values_closer_to_zero() -> None:
    record = BestMetric("valid_bias", "zero", min_delta=0.1, baseline=-2.0)
    assert [record.update(value) for value in (-2.5, 1.0, -0.95, -0.5, 0.0)] == [False, True, False, True, True]
