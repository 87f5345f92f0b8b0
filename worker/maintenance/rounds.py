"""Runs rounds of maintenance at intervals, in a thread for each task, so that no task waits for another one."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.errors import Unavailable

log = structlog.get_logger()
STOP_TIMEOUT_S = 5.0


class PeriodicTask(threading.Thread):
    """A thread that calls `run_once` at once and then after each interval, until it is stopped.

    Args:
        interval_s: seconds between the end of a round and the next one, or a function that returns them.
        on_round: called after each round without an error.
    """

    def __init__(
        self,
        name: str,
        run_once: Callable[[], None],
        interval_s: float | Callable[[], float],
        on_round: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(name=name, daemon=True)
        self._run_once = run_once
        self._get_interval_s = interval_s if callable(interval_s) else lambda: interval_s
        self._on_round = on_round
        self._stop_event = threading.Event()

    def run(self) -> None:
        """Run rounds. An error ends the round, but not the thread."""
        while not self._stop_event.is_set():
            try:
                self._run_once()
                self._on_round()
            except (SQLAlchemyError, OSError, Unavailable) as error:
                log.warning("maintenance.round_failed", task=self.name, error=str(error))
            except Exception:  # a bug in one round must not end the loop
                log.exception("maintenance.round_crashed", task=self.name)
            self._stop_event.wait(self._get_interval_s())

    def request_stop(self) -> None:
        """End the thread after the current round."""
        self._stop_event.set()
