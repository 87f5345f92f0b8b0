"""How long a batcher waits for more samples."""

import pytest

from app.inference.gather_policy import GATHER_SHARE, MAX_GATHER_S, GatherPolicy
from app.inference.latency_model import LatencyModel


@pytest.fixture
def policy() -> GatherPolicy:
    """Return a policy whose batches of any size take 10 ms, so one batch saves 10 ms over two."""
    return GatherPolicy(LatencyModel([(1, 0.01), (8, 0.01)]), max_batch_size=8)


def test_there_is_no_wait_before_a_batch_of_several(policy: GatherPolicy) -> None:
    assert not policy.start()
    policy.record_batch(1, 0.01, 100.0, 1)
    assert not policy.start()
    assert policy.min_samples == 1


def test_it_waits_for_as_many_samples_as_the_last_batch(policy: GatherPolicy) -> None:
    policy.record_batch(4, 0.01, 100.0, 1)
    assert policy.start()
    assert policy.min_samples == 4
    assert policy.compute_wait_s(1, 100.0) == pytest.approx(GATHER_SHARE * 0.01, rel=0.01)
    assert policy.compute_wait_s(4, 100.0) <= 0
    policy.stop()
    assert policy.min_samples == 1


def test_the_wait_has_a_maximum() -> None:
    policy = GatherPolicy(LatencyModel([(1, 1.0), (8, 1.0)]), max_batch_size=8)
    policy.record_batch(4, 1.0, 100.0, 1)
    policy.start()
    assert 0 < policy.compute_wait_s(1, 100.0) <= MAX_GATHER_S + 1e-9
    assert policy.compute_wait_s(1, 100.0 + MAX_GATHER_S) <= 0


def test_it_does_not_wait_for_slow_callers(policy: GatherPolicy) -> None:
    policy.record_batch(4, 0.01, 100.0, 1)
    policy.start()
    for number in range(20):
        policy.record_arrival(101.0 + number)
    assert policy.compute_wait_s(1, 100.0) <= 0
