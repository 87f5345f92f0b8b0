"""The time limits of an attempt, on a clock that the test moves."""

from datetime import UTC, datetime, timedelta

import pytest

from core.events import Event, EventType
from core.jobs import JobState
from tests.support.fakes import Clock
from worker.control.timeouts import COLD_START_S, AttemptTimeouts, sum_active_seconds

S = JobState


def test_a_trainer_without_messages_stalls_but_not_during_its_cold_start(clock: Clock) -> None:
    timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=10.0, remaining_s=None)
    timeouts.expect_start()
    clock.now += COLD_START_S
    stalled = [timeouts.is_stalled]
    clock.now += 0.1
    stalled.append(timeouts.is_stalled)
    timeouts.record_message()
    stalled.append(timeouts.is_stalled)
    clock.now += 10.1
    stalled.append(timeouts.is_stalled)
    assert stalled == [False, True, False, True]


def test_a_long_stall_timeout_is_not_extended_by_the_cold_start(clock: Clock) -> None:
    timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=None)
    timeouts.expect_start()
    clock.now += 600.1
    assert timeouts.is_stalled


def test_an_immediate_stop_has_a_grace_period_and_a_finish_has_none(clock: Clock) -> None:
    timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=None)
    timeouts.start_grace_period(is_immediate=True)
    clock.now += 30.1
    assert timeouts.is_grace_expired
    timeouts.start_grace_period(is_immediate=False)
    assert not timeouts.is_grace_expired


@pytest.mark.parametrize(("left_s", "is_over"), [(None, False), (5.1, False), (5.0, True), (-1.0, True)])
def test_the_time_limit_expires_at_the_remaining_time(clock: Clock, left_s: float | None, is_over: bool) -> None:
    timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=left_s)
    clock.now += 5.0
    assert timeouts.is_over_time_limit == is_over


def build_transitions(*steps: tuple[float, JobState]) -> list[Event]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    moments = [(start + timedelta(seconds=offset_s), state) for offset_s, state in steps]
    return [Event("job", number, EventType.STATE, at, {"to": state}) for number, (at, state) in enumerate(moments)]


def test_time_in_the_queue_and_paused_does_not_count() -> None:
    first_attempts = [(0.0, S.QUEUED), (10.0, S.RUNNING), (15.0, S.QUEUED), (50.0, S.RUNNING)]
    paused = [(53.0, S.PAUSING), (54.0, S.PAUSED)]
    current = [(100.0, S.QUEUED), (101.0, S.RUNNING)]
    assert sum_active_seconds(build_transitions(*first_attempts, *paused, *current)) == 9.0


def test_a_clock_that_jumped_back_counts_as_zero() -> None:
    transitions = build_transitions((100, S.RUNNING), (40, S.QUEUED), (50, S.RUNNING), (51, S.QUEUED))
    assert sum_active_seconds(transitions) == 1.0


def test_time_before_an_extension_is_not_counted() -> None:
    finished = build_transitions((0, S.RUNNING), (50, S.SUCCEEDED))
    extended = build_transitions((60, S.QUEUED), (70, S.RUNNING), (73, S.QUEUED))
    extended[0].payload["reason"] = "extended"
    assert sum_active_seconds([*finished, *extended]) == 3.0
