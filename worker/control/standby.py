"""Keeps trainer processes ready, with torch already imported, so that jobs start without delay."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence

import structlog

from core.python_process import PYTHON
from worker.control.trainer_process import TrainerProcess

log = structlog.get_logger()
TRAINER = (*PYTHON, "-m", "worker.trainer")


class Standby:
    """Starts trainers in advance, all from one thread that runs until this object is closed.

    As many trainers are ready as slots are free, but at least one, for the next job of a slot that becomes free.

    A trainer sets a parent death signal, so that the kernel kills the trainer if the worker dies. The kernel also sends
    this signal if only the *thread* that started the trainer ends. Therefore the thread must outlive its trainers.
    """

    def __init__(
        self, command: Sequence[str] = TRAINER, environment: Mapping[str, str] | None = None, slots: int = 1
    ) -> None:
        """Create a source of trainers. `slots`: the number of trainers that run jobs at the same time."""
        self._command = command
        self._environment = environment
        self._slots = slots
        self._condition = threading.Condition()
        self._ready: deque[TrainerProcess] = deque()
        self._num_taken = 0
        self._error: OSError | None = None
        self._is_requested = True
        self._is_closed = False
        self._thread = threading.Thread(target=self._run_thread, name="standby", daemon=True)

    def start(self) -> None:
        """Start the first trainers in the background."""
        self._thread.start()

    def set_slots(self, slots: int) -> None:
        """Change the number of trainers that run jobs at the same time, and start the missing ones."""
        with self._condition:
            self._slots = slots
            self._request_trainers()

    def take(self) -> TrainerProcess:
        """Return a waiting trainer, or start one if none is waiting. Call `replenish` and `release` for it later.

        Raises:
            OSError: a trainer cannot be started.
        """
        with self._condition:
            while True:
                self._discard_dead_trainers()
                if self._ready:
                    self._num_taken += 1
                    return self._ready.popleft()
                if self._error is not None:
                    error, self._error = self._error, None
                    raise error
                self._request_trainers()
                self._condition.wait()

    def replenish(self) -> None:
        """Start the next trainers. Call this once the taken trainer has started its job, to not delay the job."""
        with self._condition:
            self._request_trainers()

    def release(self) -> None:
        """Start the next trainers, because a taken trainer has ended and its slot is free."""
        with self._condition:
            self._num_taken -= 1
            self._request_trainers()

    def close(self) -> None:
        """Stop the waiting trainers. Call this after all taken trainers have ended, because it kills them too."""
        with self._condition:
            self._is_closed = True
            self._condition.notify_all()
        if self._thread.is_alive():
            self._thread.join()
        while self._ready:
            trainer = self._ready.popleft()
            trainer.stop()
            trainer.close()

    @property
    def _num_missing(self) -> int:
        return max(1, self._slots - self._num_taken) - len(self._ready)

    def _request_trainers(self) -> None:
        self._is_requested = True
        self._condition.notify_all()

    def _discard_dead_trainers(self) -> None:
        for trainer in [trainer for trainer in self._ready if not trainer.is_alive]:
            self._ready.remove(trainer)
            log.warning("standby.trainer_exited", status=trainer.stop(), stderr=trainer.read_stderr_tail())
            trainer.close()

    def _run_thread(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._is_closed or (self._is_requested and self._num_missing > 0))
                if self._is_closed:
                    return
                self._is_requested = self._num_missing > 1
                try:
                    self._ready.append(TrainerProcess.spawn(self._command, self._environment))
                except OSError as error:
                    log.exception("standby.start_failed")
                    self._error, self._is_requested = error, False
                self._condition.notify_all()
