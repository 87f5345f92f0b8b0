"""The beat of an attempt: renews the lease in its own cadence, and hears what is asked of the attempt."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.attempts import AttemptRepo
from core.db.session import SessionFactory, transaction
from core.errors import LostLease
from core.jobs import StopRequest
from worker.control.trainer_process import TrainerProcess
from worker.protocol import Lease

log = structlog.get_logger()
_LOOK_S = 1.0
LEASE_SHARE = 0.8  # a holder stops itself at this share of the lease, so that two never train at once


class SupervisionTimeouts(NamedTuple):
    """Seconds."""

    lease_s: float = 30.0
    heartbeat_s: float = 5.0
    grace_s: float = 30.0
    stall_s: float = 600.0
    flush_s: float = 0.25


class LeaseRenewer(threading.Thread):
    """Beats until it is stopped, the lease is lost, or it could not be renewed in time. Then the trainer dies."""

    def __init__(
        self,
        sessions: SessionFactory,
        job_id: str,
        token: int,
        cadence: SupervisionTimeouts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=f"heart-{job_id}", daemon=True)
        self._sessions, self._job_id, self._token = sessions, job_id, token
        self._cadence, self._clock = cadence, clock
        self._stopped = threading.Event()
        self._renewed = clock()  # before the database counted from: on the safe side
        self._trainer: TrainerProcess | None = None
        self.stop_request: StopRequest | None = None
        self.is_lease_lost = False

    def attach(self, trainer: TrainerProcess) -> None:
        """From now on that trainer hears of every renewal, and is killed when the lease is lost."""
        self._trainer = trainer
        if self.is_lease_lost:
            trainer.kill()

    def stop(self) -> None:
        self._stopped.set()
        self.join()

    def run(self) -> None:
        while not self._stopped.wait(min(_LOOK_S, self._cadence.heartbeat_s)):
            try:
                self._beat()
            except LostLease:
                self._lose("taken")
            except SQLAlchemyError as error:
                log.warning("heart.beat_failed", job_id=self._job_id, error=str(error))
            if self._clock() - self._renewed > LEASE_SHARE * self._cadence.lease_s:
                self._lose("not renewed in time")
            if self.is_lease_lost:
                return

    def _beat(self) -> None:
        now = self._clock()
        if now - self._renewed < self._cadence.heartbeat_s:
            with transaction(self._sessions, read_only=True) as session:
                self.stop_request = AttemptRepo(session).get_stop_request(self._job_id, self._token)
            return
        with transaction(self._sessions) as session:
            self.stop_request = AttemptRepo(session).renew_lease(self._job_id, self._token, self._cadence.lease_s)
        self._renewed = now
        if self._trainer is not None:
            self._trainer.send(Lease())

    def _lose(self, how: str) -> None:
        if self._stopped.is_set() or self.is_lease_lost:
            return
        self.is_lease_lost = True
        log.warning("heart.lease_lost", job_id=self._job_id, token=self._token, how=how)
        if self._trainer is not None:
            self._trainer.kill()
