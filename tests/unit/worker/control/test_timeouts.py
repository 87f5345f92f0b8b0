"""How long an attempt may go on, by a clock that the test turns."""

from datetime import UTC, datetime, timedelta

import pytest

from core.events import Event, EventType
from core.jobs import JobState
from tests.support.fakes import Clock
from worker.control.timeouts import COLD_START_S, AttemptTimeouts, sum_active_seconds

S = JobState


def test_a_silence_is_a_stall_but_not_while_the_trainer_starts(clock: Clock) -> None:
    patience = AttemptTimeouts(clock, grace_s=30.0, stall_s=10.0, remaining_s=None)
    patience.expect_start()
    clock.now += COLD_START_S
    stalled = [patience.is_stalled]
    clock.now += 0.1
    stalled.append(patience.is_stalled)
    patience.record_message()
    stalled.append(patience.is_stalled)
    clock.now += 10.1
    stalled.append(patience.is_stalled)
    assert stalled == [False, True, False, True]


def test_a_long_limit_of_silence_is_not_made_longer_by_the_start(clock: Clock) -> None:
    patience = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=None)
    patience.expect_start()
    clock.now += 600.1
    assert patience.is_stalled


def test_who_is_asked_to_stop_has_the_grace_and_who_is_asked_to_finish_has_time(clock: Clock) -> None:
    patience = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=None)
    patience.start_grace_period(is_immediate=True)
    clock.now += 30.1
    assert patience.is_grace_expired
    patience.start_grace_period(is_immediate=False)
    assert not patience.is_grace_expired


@pytest.mark.parametrize(("left_s", "is_up"), [(None, False), (5.1, False), (5.0, True), (-1.0, True)])
def test_the_time_of_the_job_is_up(clock: Clock, left_s: float | None, is_up: bool) -> None:
    patience = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=left_s)
    clock.now += 5.0
    assert patience.is_over_time_limit == is_up


def moves(*steps: tuple[float, JobState]) -> list[Event]:
    began = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        Event("job", i, EventType.STATE, began + timedelta(seconds=at), {"to": to}) for i, (at, to) in enumerate(steps)
    ]


def test_time_in_the_queue_and_in_a_pause_does_not_count() -> None:
    told = moves((0, S.QUEUED), (10, S.RUNNING), (15, S.QUEUED), (50, S.RUNNING), (53, S.PAUSING), (54, S.PAUSED))
    assert sum_active_seconds([*told, *moves((100, S.QUEUED), (101, S.RUNNING))]) == 9.0


def test_a_clock_that_jumped_back_counts_as_no_time() -> None:
    assert sum_active_seconds(moves((100, S.RUNNING), (40, S.QUEUED), (50, S.RUNNING), (51, S.QUEUED))) == 1.0
