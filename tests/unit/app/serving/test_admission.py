"""Who is let in: those who would be answered in time."""

import pytest

from app.serving.admission import SAFE_SHARE, AdmissionController
from core.errors import DeadlineExceeded, Overloaded
from tests.support.fakes import Clock


@pytest.fixture
def admission(clock: Clock) -> AdmissionController:
    """Batches of four, of which one takes a second; ten pictures, two seconds and what is kept in reserve."""
    admission = AdmissionController("m", max_batch_size=4, max_waiting=10, max_wait_s=2.0 / SAFE_SHARE, clock=clock)
    admission.set_latency_model([(1, 0.25), (4, 1.0)])
    return admission


def test_whoever_would_wait_too_long_is_refused(admission: AdmissionController) -> None:
    admission.enter(7)
    admission.check(1)  # two full batches
    with pytest.raises(Overloaded) as refusal:
        admission.check(2)
    assert refusal.value.facts["reason"] == "wait"
    assert refusal.value.facts["retry_after_s"] >= 1
    admission.leave(4)
    admission.check(2)


def test_those_of_later_levels_are_not_in_the_way(admission: AdmissionController, clock: Clock) -> None:
    admission.enter(7, level=3)
    with pytest.raises(Overloaded):
        admission.check(2, level=3)
    admission.check(2)
    admission.enter(1)
    admission.check(1, clock.now + 0.3, level=1)
    with pytest.raises(DeadlineExceeded):
        admission.check(4, clock.now + 1.2)
    admission.leave(7, level=3)
    admission.check(2, level=3)


def test_a_full_queue_refuses_every_level(admission: AdmissionController) -> None:
    admission.enter(10, level=3)
    with pytest.raises(Overloaded) as refusal:
        admission.check(1, level=1)
    assert refusal.value.facts["reason"] == "queue"


def test_a_lone_request_is_let_in_however_long_it_takes(admission: AdmissionController) -> None:
    admission.check(10)
    with pytest.raises(Overloaded) as refusal:
        admission.check(11)
    assert refusal.value.facts["reason"] == "queue"


def test_whoever_would_be_late_is_told_at_once(admission: AdmissionController, clock: Clock) -> None:
    admission.enter(4)
    admission.check(1, clock.now + 1.3)
    with pytest.raises(DeadlineExceeded) as refusal:
        admission.check(1, clock.now + 1.2)
    assert refusal.value.facts["expected_s"] == 1.25


def test_what_batches_really_take_counts_and_idle_time_does_not(admission: AdmissionController, clock: Clock) -> None:
    admission.enter(8)
    for _ in range(40):
        clock.now += 2.0  # a second of computing, and another until the answer is here
        admission.learn(4, 1.0)
    assert admission.expected_s(0) == pytest.approx(4.0, rel=0.01)
    admission.leave(8)
    clock.now += 1000.0
    admission.enter(4)
    admission.learn(4, 1.0)
    assert admission.expected_s(0) == pytest.approx(2.0, rel=0.01)


def test_where_several_batches_are_computed_at_once_they_are_worked_off_sooner(
    admission: AdmissionController, clock: Clock
) -> None:
    admission.enter(8)
    for _ in range(40):
        clock.now += 0.5  # two at a time
        admission.learn(4, 1.0)
    assert admission.expected_s(0) == pytest.approx(1.0, rel=0.01)


def test_before_anything_is_known_only_the_number_counts(clock: Clock) -> None:
    admission = AdmissionController("m", max_batch_size=4, max_waiting=10, max_wait_s=0.001, clock=clock)
    admission.enter(9)
    admission.check(1, clock.now + 0.001)
    with pytest.raises(Overloaded):
        admission.check(2)


def test_images_of_other_processes_count_for_a_second(admission: AdmissionController, clock: Clock) -> None:
    admission.enter(1)
    admission.set_remote_queue_length(6)
    with pytest.raises(Overloaded) as refusal:
        admission.check(2)
    assert refusal.value.facts["reason"] == "wait"
    clock.now += 1.0
    admission.check(2)
