"""A trainer that waits with torch imported, so that a job starts at once."""

import sys
import threading
from collections.abc import Mapping, Sequence

import structlog

from worker.control.trainer_process import TrainerProcess

log = structlog.get_logger()
TRAINER = (sys.executable, "-m", "worker.trainer")


class Standby:
    """Starts all trainers from one thread that lives as long as this object.

    A trainer asks the kernel to be killed with its parent, and the kernel takes the end of the *thread* that
    started it for the parent's.
    """

    def __init__(self, command: Sequence[str] = TRAINER, environment: Mapping[str, str] | None = None) -> None:
        self._command, self._environment = command, environment
        self._changed = threading.Condition()
        self._ready: TrainerProcess | None = None
        self._error: OSError | None = None
        self._is_wanted = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="standby", daemon=True)

    def start(self) -> None:
        """Start the first trainer in the background."""
        self._thread.start()

    def take(self) -> TrainerProcess:
        """The waiting trainer, or a new one; no other is started before `replenish` or the next `take`.

        Raises:
            OSError: none can be started.
        """
        with self._changed:
            while True:
                self._drop_dead()
                if self._ready is not None:
                    taken, self._ready = self._ready, None
                    return taken
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                self._is_wanted = True
                self._changed.notify_all()
                self._changed.wait()

    def replenish(self) -> None:
        """Start another one now: the taken one is past its own start, and would not be slowed down by this one's."""
        with self._changed:
            self._is_wanted = True
            self._changed.notify_all()

    def close(self) -> None:
        """End the waiting trainer; those that were taken must have ended, since the kernel ends them now."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if self._ready is not None:
            self._ready.stop()
            self._ready.close()
            self._ready = None

    def _drop_dead(self) -> None:
        if self._ready is not None and not self._ready.is_alive:
            status = self._ready.stop()
            log.warning("standby.died", status=status, stderr=self._ready.last_errors())
            self._ready.close()
            self._ready = None

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closed or (self._is_wanted and self._ready is None))
                if self._is_closed:
                    return
                self._is_wanted = False
                try:
                    self._ready = TrainerProcess(self._command, self._environment)
                except OSError as error:
                    log.exception("standby.start_failed")
                    self._error = error
                self._changed.notify_all()
