"""Stop requests: which mode applies, what the trainer receives, when it is killed and how the attempt ends."""

import pytest

from core.jobs import StopMode, StopRequest
from tests.support.fakes import Clock
from worker.control.outcome import AttemptFailed, AttemptReleased
from worker.control.stop_controller import StopController
from worker.control.timeouts import AttemptTimeouts
from worker.protocol import Stop, SupervisorMessage


class RecordingTrainer:
    """Records what it is sent, and whether it is killed."""

    def __init__(self) -> None:
        self.sent: list[SupervisorMessage] = []
        self.is_killed = False

    def send(self, message: SupervisorMessage) -> None:
        self.sent.append(message)

    def kill(self) -> None:
        self.is_killed = True


class Attempt:
    """A controller with a stop request, a shutdown and a clock that a test sets."""

    def __init__(self, clock: Clock) -> None:
        self.stop_request: StopRequest | None = None
        self.is_shutting_down = False
        self.trainer = RecordingTrainer()
        timeouts = AttemptTimeouts(clock, grace_s=30.0, stall_s=600.0, remaining_s=300.0)
        self.stop = StopController(timeouts, lambda: self.stop_request, lambda: self.is_shutting_down)


@pytest.fixture
def attempt(clock: Clock) -> Attempt:
    return Attempt(clock)


@pytest.mark.parametrize(
    ("stop_request", "is_shutting_down", "elapsed_s", "mode"),
    [
        (None, False, 0.0, None),
        (StopRequest.FINISH, False, 0.0, StopMode.FINISH),
        (StopRequest.FINISH, True, 0.0, StopMode.PREEMPT),
        (None, False, 300.0, StopMode.PREEMPT),
        (StopRequest.PAUSE, True, 300.0, StopMode.PAUSE),
        (StopRequest.CANCEL, True, 0.0, StopMode.CANCEL),
    ],
)
def test_the_most_urgent_reason_decides_the_mode(
    attempt: Attempt,
    clock: Clock,
    stop_request: StopRequest | None,
    is_shutting_down: bool,
    elapsed_s: float,
    mode: StopMode | None,
) -> None:
    attempt.stop_request, attempt.is_shutting_down = stop_request, is_shutting_down
    clock.now += elapsed_s
    assert attempt.stop.current_mode is mode
    assert attempt.stop.must_stop_now == (mode not in (None, StopMode.FINISH))


def test_a_stop_request_is_forwarded_once_and_a_new_one_replaces_it(attempt: Attempt) -> None:
    attempt.stop.forward_stop_request(attempt.trainer)
    attempt.stop_request = StopRequest.FINISH
    for _ in range(2):
        attempt.stop.forward_stop_request(attempt.trainer)
    assert not attempt.stop.is_immediate_stop_forwarded
    attempt.stop_request = StopRequest.CANCEL
    attempt.stop.forward_stop_request(attempt.trainer)
    assert attempt.trainer.sent == [Stop(mode=StopMode.FINISH), Stop(mode=StopMode.CANCEL)]
    assert attempt.stop.is_immediate_stop_forwarded


@pytest.mark.parametrize(("request_", "is_killed"), [(StopRequest.CANCEL, True), (StopRequest.FINISH, False)])
def test_only_an_immediate_stop_has_a_grace_period(
    attempt: Attempt, clock: Clock, request_: StopRequest, is_killed: bool
) -> None:
    attempt.stop_request = request_
    attempt.stop.forward_stop_request(attempt.trainer)
    clock.now += 30.1
    attempt.stop.enforce_timeouts(attempt.trainer)
    assert attempt.trainer.is_killed == is_killed


def test_a_stalled_trainer_is_killed(attempt: Attempt, clock: Clock) -> None:
    clock.now += 600.0
    attempt.stop.enforce_timeouts(attempt.trainer)
    assert not attempt.trainer.is_killed
    clock.now += 0.1
    attempt.stop.enforce_timeouts(attempt.trainer)
    assert attempt.trainer.is_killed


@pytest.mark.parametrize(
    ("stop_request", "reason"),
    [(StopRequest.CANCEL, "cancelled"), (StopRequest.PAUSE, "paused"), (None, "worker left")],
)
def test_a_stopped_attempt_is_released_with_a_reason(
    attempt: Attempt, stop_request: StopRequest | None, reason: str
) -> None:
    attempt.stop_request, attempt.is_shutting_down = stop_request, True
    assert attempt.stop.build_outcome() == AttemptReleased(reason)


def test_an_attempt_over_its_time_limit_fails(attempt: Attempt, clock: Clock) -> None:
    clock.now += 300.0
    outcome = attempt.stop.build_outcome()
    assert isinstance(outcome, AttemptFailed)
    assert outcome.failure["code"] == "time_limit"


def test_a_shutdown_at_the_time_limit_releases_the_attempt(attempt: Attempt, clock: Clock) -> None:
    clock.now += 300.0
    attempt.is_shutting_down = True
    assert attempt.stop.build_outcome() == AttemptReleased("worker left")
