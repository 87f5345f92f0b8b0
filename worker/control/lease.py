"""Renews the lease of an attempt and polls for stop requests."""

import threading
import time
from collections.abc import Callable
from typing import NamedTuple

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.attempts import AttemptRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import LostLease
from core.jobs import StopRequest
from worker.control.trainer_process import TrainerProcess
from worker.protocol import LeaseRenewed

log = structlog.get_logger()
_POLL_S = 1.0
# Without a renewal, an attempt ends after this fraction of `lease_s`, before another worker can claim the job.
LEASE_SHARE = 0.8


class SupervisionTimeouts(NamedTuple):
    """Intervals and timeouts of supervision, in seconds.

    Attributes:
        lease_s: time from a renewal until the lease expires. Default: 30.
        heartbeat_s: time between two renewals of the lease. Default: 5.
        grace_s: time that a trainer has to stop before it is killed. Default: 30.
        stall_s: time without a message after which a trainer is killed as stalled. Default: 600.
        flush_s: minimum time between two writes of metrics to the database. Default: 0.25.
    """

    lease_s: float = 30.0
    heartbeat_s: float = 5.0
    grace_s: float = 30.0
    stall_s: float = 600.0
    flush_s: float = 0.25


class LeaseRenewer(threading.Thread):
    """A thread that renews the lease of an attempt until it is stopped or the lease is lost.

    The lease is lost if another attempt claims the job, or if the lease cannot be renewed in time. The thread then
    kills the trainer.

    Attributes:
        stop_request: the client's latest stop request, if any.
        is_lease_lost: whether the lease is lost. If it is, the attempt must not write to the database.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        job: JobRow,
        timeouts: SupervisionTimeouts,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name=f"lease-{job.id}", daemon=True)
        self.stop_request: StopRequest | None = job.stop_request
        self.is_lease_lost = False
        self._sessions = sessions
        self._job_id = job.id
        self._token = job.token
        self._timeouts = timeouts
        self._clock = clock
        self._stop_event = threading.Event()
        self._renewed_at = clock()
        self._trainer: TrainerProcess | None = None

    def attach_trainer(self, trainer: TrainerProcess) -> None:
        """Set the trainer. It receives a message after each renewal, and is killed when the lease is lost."""
        self._trainer = trainer
        if self.is_lease_lost:
            trainer.kill()

    def stop(self) -> None:
        """Stop renewing the lease and wait for the thread to end."""
        self._stop_event.set()
        self.join()

    def run(self) -> None:
        """Call `check_lease` at intervals until the thread is stopped. This is the thread's main function."""
        while not self._stop_event.wait(min(_POLL_S, self._timeouts.heartbeat_s)):
            self.check_lease()
            if self.is_lease_lost:
                return

    def check_lease(self) -> None:
        """Renew the lease if a renewal is due, else poll for stop requests. If the lease is lost, kill the trainer."""
        try:
            if self._clock() - self._renewed_at < self._timeouts.heartbeat_s:
                self._poll_stop_request()
            else:
                self._renew_lease()
        except LostLease:
            self._handle_loss("taken over")
        except SQLAlchemyError as error:
            log.warning("lease.renewal_failed", job_id=self._job_id, error=str(error))
        if self._clock() - self._renewed_at > LEASE_SHARE * self._timeouts.lease_s:
            self._handle_loss("not renewed in time")

    def _poll_stop_request(self) -> None:
        with transaction(self._sessions, read_only=True) as session:
            self.stop_request = AttemptRepo(session).get_stop_request(self._job_id, self._token)

    def _renew_lease(self) -> None:
        now = self._clock()  # read before the query, so that the local deadline is not later than the database's
        with transaction(self._sessions) as session:
            self.stop_request = AttemptRepo(session).renew_lease(self._job_id, self._token, self._timeouts.lease_s)
        self._renewed_at = now
        if self._trainer is not None:
            self._trainer.send(LeaseRenewed())

    def _handle_loss(self, reason: str) -> None:
        if self._stop_event.is_set() or self.is_lease_lost:
            return
        self.is_lease_lost = True
        log.warning("lease.lost", job_id=self._job_id, token=self._token, reason=reason)
        if self._trainer is not None:
            self._trainer.kill()
