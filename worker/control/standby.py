"""Keeps one trainer process ready, with torch already imported, so that a job starts without delay."""

import threading
from collections.abc import Mapping, Sequence

import structlog

from core.python_process import PYTHON
from worker.control.trainer_process import TrainerProcess

log = structlog.get_logger()
TRAINER = (*PYTHON, "-m", "worker.trainer")


class Standby:
    """Starts trainers in advance, all from one thread that runs until this object is closed.

    A trainer sets a parent death signal, so that the kernel kills the trainer if the worker dies. The kernel also sends
    this signal if only the *thread* that started the trainer ends. Therefore the thread must outlive its trainers.
    """

    def __init__(self, command: Sequence[str] = TRAINER, environment: Mapping[str, str] | None = None) -> None:
        self._command = command
        self._environment = environment
        self._condition = threading.Condition()
        self._ready: TrainerProcess | None = None
        self._error: OSError | None = None
        self._is_requested = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._run_thread, name="standby", daemon=True)

    def start(self) -> None:
        """Start the first trainer in the background."""
        self._thread.start()

    def take(self) -> TrainerProcess:
        """Return the waiting trainer, or start one if none is waiting. Then call `replenish` to start the next one.

        Raises:
            OSError: a trainer cannot be started.
        """
        with self._condition:
            while True:
                self._discard_dead_trainer()
                if self._ready is not None:
                    trainer, self._ready = self._ready, None
                    return trainer
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                self._is_requested = True
                self._condition.notify_all()
                self._condition.wait()

    def replenish(self) -> None:
        """Start the next trainer. Call this once the taken trainer has started its job, to not delay the job."""
        with self._condition:
            self._is_requested = True
            self._condition.notify_all()

    def close(self) -> None:
        """Stop the waiting trainer. Call this after all taken trainers have ended, because it kills them too."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        if self._ready is not None:
            self._ready.stop()
            self._ready.close()
            self._ready = None

    def _discard_dead_trainer(self) -> None:
        if self._ready is not None and not self._ready.is_alive:
            status = self._ready.stop()
            log.warning("standby.trainer_exited", status=status, stderr=self._ready.read_stderr_tail())
            self._ready.close()
            self._ready = None

    def _run_thread(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_closed or (self._is_requested and self._ready is None))
                if self._is_closed:
                    return
                self._is_requested = False
                try:
                    self._ready = TrainerProcess(self._command, self._environment)
                except OSError as error:
                    log.exception("standby.start_failed")
                    self._error = error
                self._condition.notify_all()
