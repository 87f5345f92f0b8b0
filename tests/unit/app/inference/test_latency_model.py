"""What a batch costs, by its size."""

import pytest

from app.inference.latency_model import LatencyModel


def test_sizes_between_those_that_are_known_lie_on_the_line() -> None:
    costs = LatencyModel([(1, 2.0), (2, 3.0), (4, 5.0)])
    assert [costs.predict(size) for size in (1, 2, 3, 4, 8)] == [2.0, 3.0, 4.0, 5.0, 10.0]


def test_nothing_is_known_of_nothing() -> None:
    assert LatencyModel().predict(3) == LatencyModel().saving(1, 2) == 0


def test_one_batch_saves_what_every_batch_costs_anew() -> None:
    costs = LatencyModel((size, 10.0 + size) for size in (1, 2, 4, 8, 16, 32))
    assert costs.saving(1, 31) == pytest.approx(10.0)
    linear = LatencyModel((size, float(size)) for size in (1, 2, 4, 8, 16, 32))
    assert linear.saving(5, 11) == pytest.approx(0.0)


def test_it_follows_what_batches_cost_now() -> None:
    costs = LatencyModel([(1, 1.0), (32, 8.0)])
    for _ in range(50):
        costs.record(32, 16.0)
    assert costs.predict(32) == pytest.approx(16.0, rel=0.01)
    assert 1.2 < costs.predict(1) < 2.0  # the machine has become busier for small batches as well
