"""Requests are rejected if their expected wait is too long."""

import pytest

from app.serving.admission import SAFETY_FACTOR, AdmissionController
from core.errors import DeadlineExceeded, Overloaded
from tests.support.fakes import Clock


@pytest.fixture
def admission(clock: Clock) -> AdmissionController:
    """Return a controller with batches of four that take a second, and an effective limit of two seconds."""
    admission = AdmissionController("m", max_batch_size=4, max_waiting=10, max_wait_s=2.0 / SAFETY_FACTOR, clock=clock)
    admission.set_latencies([(1, 0.25), (4, 1.0)])
    return admission


def test_a_request_with_a_long_expected_wait_is_rejected(admission: AdmissionController) -> None:
    admission.add_in_flight(7)
    admission.check_wait(1)  # two full batches
    with pytest.raises(Overloaded) as refusal:
        admission.check_wait(2)
    assert refusal.value.extra["reason"] == "wait"
    assert refusal.value.extra["retry_after_s"] >= 1
    admission.remove_in_flight(4)
    admission.check_wait(2)


def test_lower_priorities_do_not_delay_a_request(admission: AdmissionController, clock: Clock) -> None:
    admission.add_in_flight(7, priority=3)
    with pytest.raises(Overloaded):
        admission.check_wait(2, priority=3)
    admission.check_wait(2)
    admission.add_in_flight(1)
    admission.check_wait(1, clock.now + 0.3, priority=1)
    with pytest.raises(DeadlineExceeded):
        admission.check_wait(4, clock.now + 1.2)
    admission.remove_in_flight(7, priority=3)
    admission.check_wait(2, priority=3)


def test_a_full_queue_rejects_every_priority(admission: AdmissionController) -> None:
    admission.add_in_flight(10, priority=3)
    with pytest.raises(Overloaded) as refusal:
        admission.check_wait(1, priority=1)
    assert refusal.value.extra["reason"] == "queue"


def test_a_slow_request_to_an_idle_model_is_accepted(admission: AdmissionController) -> None:
    admission.check_wait(10)
    with pytest.raises(Overloaded) as refusal:
        admission.check_wait(11)
    assert refusal.value.extra["reason"] == "queue"


def test_a_request_that_would_miss_its_deadline_is_rejected(admission: AdmissionController, clock: Clock) -> None:
    admission.add_in_flight(4)
    admission.check_wait(1, clock.now + 1.3)
    with pytest.raises(DeadlineExceeded) as refusal:
        admission.check_wait(1, clock.now + 1.2)
    assert refusal.value.extra["expected_s"] == 1.25


def test_the_estimate_includes_overhead_but_no_idle_time(admission: AdmissionController, clock: Clock) -> None:
    admission.add_in_flight(8)
    for _ in range(40):
        clock.now += 2.0  # one second of computation and one of overhead
        admission.record_batch(4, 1.0)
    assert admission.estimate_wait_s(0) == pytest.approx(4.0, rel=0.01)
    admission.remove_in_flight(8)
    clock.now += 1000.0
    admission.add_in_flight(4)
    admission.record_batch(4, 1.0)
    assert admission.estimate_wait_s(0) == pytest.approx(2.0, rel=0.01)


def test_several_instances_shorten_the_expected_wait(admission: AdmissionController, clock: Clock) -> None:
    admission.add_in_flight(8)
    for _ in range(40):
        clock.now += 0.5  # two at a time
        admission.record_batch(4, 1.0)
    assert admission.estimate_wait_s(0) == pytest.approx(1.0, rel=0.01)


def test_without_measurements_only_the_queue_limit_applies(clock: Clock) -> None:
    admission = AdmissionController("m", max_batch_size=4, max_waiting=10, max_wait_s=0.001, clock=clock)
    admission.add_in_flight(9)
    admission.check_wait(1, clock.now + 0.001)
    with pytest.raises(Overloaded):
        admission.check_wait(2)


def test_the_remote_queue_length_expires_after_a_second(admission: AdmissionController, clock: Clock) -> None:
    admission.add_in_flight(1)
    admission.set_remote_queue_length(6)
    with pytest.raises(Overloaded) as refusal:
        admission.check_wait(2)
    assert refusal.value.extra["reason"] == "wait"
    clock.now += 1.0
    admission.check_wait(2)
