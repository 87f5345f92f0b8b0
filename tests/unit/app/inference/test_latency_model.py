"""The predicted latency of a batch by its size."""

import pytest

from app.inference.latency_model import LatencyModel


def test_latencies_between_measured_sizes_are_interpolated() -> None:
    latency_model = LatencyModel([(1, 2.0), (2, 3.0), (4, 5.0)])
    assert [latency_model.predict(size) for size in (1, 2, 3, 4, 8)] == [2.0, 3.0, 4.0, 5.0, 10.0]


def test_the_latency_is_0_without_measurements() -> None:
    assert LatencyModel().predict(3) == LatencyModel().compute_saving(1, 2) == 0


def test_one_batch_saves_the_constant_cost_of_the_other() -> None:
    latency_model = LatencyModel((size, 10.0 + size) for size in (1, 2, 4, 8, 16, 32))
    assert latency_model.compute_saving(1, 31) == pytest.approx(10.0)
    linear = LatencyModel((size, float(size)) for size in (1, 2, 4, 8, 16, 32))
    assert linear.compute_saving(5, 11) == pytest.approx(0.0)


def test_a_new_latency_affects_every_size() -> None:
    latency_model = LatencyModel([(1, 1.0), (32, 8.0)])
    for _ in range(50):
        latency_model.record(32, 16.0)
    assert latency_model.predict(32) == pytest.approx(16.0, rel=0.01)
    assert 1.2 < latency_model.predict(1) < 2.0  # small batches are slower on a busy machine as well
