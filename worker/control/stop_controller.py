"""Decides whether and how an attempt must stop, sends stop requests to its trainer and enforces time limits."""

from collections.abc import Callable
from typing import Protocol

import structlog

from core.failures import build_failure
from core.jobs import IMMEDIATE_STOP_MODES, StopMode, StopRequest
from worker.control.outcome import AttemptFailed, AttemptPaused, AttemptReleased
from worker.control.timeouts import AttemptTimeouts
from worker.protocol import Stop, SupervisorMessage

log = structlog.get_logger()
_RELEASE_REASONS = {StopMode.CANCEL: "cancelled", StopMode.PAUSE: "paused"}


class StoppableTrainer(Protocol):
    """Protocol with the methods of a trainer process that a stop controller calls."""

    def send(self, message: SupervisorMessage) -> None:
        """Send a message without blocking."""

    def kill(self) -> None:
        """Kill the process immediately."""


class StopController:
    """Stops an attempt on a client's stop request, at the worker's shutdown or at the job's time limit."""

    def __init__(
        self,
        timeouts: AttemptTimeouts,
        get_stop_request: Callable[[], StopRequest | None],
        is_shutting_down: Callable[[], bool],
    ) -> None:
        self._timeouts = timeouts
        self._get_stop_request = get_stop_request
        self._is_shutting_down = is_shutting_down
        self._forwarded: StopMode | None = None

    @property
    def current_mode(self) -> StopMode | None:
        """Return the mode in which the attempt must stop, or None if it may continue."""
        match self._get_stop_request():
            case StopRequest.CANCEL:
                return StopMode.CANCEL
            case StopRequest.PAUSE:
                return StopMode.PAUSE
            case _ if self._is_shutting_down() or self._timeouts.is_over_time_limit:
                return StopMode.PREEMPT
            case StopRequest.FINISH:
                return StopMode.FINISH
            case None:
                return None

    @property
    def must_stop_now(self) -> bool:
        """Return whether the attempt must stop after the current step."""
        return self.current_mode in IMMEDIATE_STOP_MODES

    @property
    def is_immediate_stop_forwarded(self) -> bool:
        """Return whether the last request that was sent to the trainer was to stop after the current step."""
        return self._forwarded in IMMEDIATE_STOP_MODES

    def forward_stop_request(self, trainer: StoppableTrainer) -> StopMode | None:
        """Send a new stop request to the trainer and start the grace period. Return its mode, or None if it is not new.

        Without a new request, do nothing.
        """
        mode = self.current_mode
        if mode is None or mode == self._forwarded:
            return None
        log.info("attempt.stop_requested", mode=mode)
        self._forwarded = mode
        trainer.send(Stop(mode=mode))
        self._timeouts.start_grace_period(is_immediate=mode in IMMEDIATE_STOP_MODES)
        return mode

    def enforce_timeouts(self, trainer: StoppableTrainer) -> None:
        """Kill the trainer if it has exceeded its grace period or is stalled."""
        if self._timeouts.is_grace_expired or self._timeouts.is_stalled:
            log.warning("trainer.killed", stop_mode=self._forwarded, is_stalled=self._timeouts.is_stalled)
            trainer.kill()

    def build_outcome(self, milestone_epoch: int | None = None) -> AttemptReleased | AttemptPaused | AttemptFailed:
        """Return the outcome of a stopped attempt: a failure at the job's time limit, else a release of the job.

        `milestone_epoch`: the milestone at which the trainer stopped. None: it stopped as requested.
        """
        mode = self.current_mode
        if mode is StopMode.PREEMPT and self._timeouts.is_over_time_limit and not self._is_shutting_down():
            return AttemptFailed(build_failure("time_limit"))
        if milestone_epoch is not None:
            return AttemptPaused(milestone_epoch)
        return AttemptReleased("worker left" if mode is None else _RELEASE_REASONS.get(mode, "worker left"))
