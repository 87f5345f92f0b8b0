"""The reaper, which releases the jobs of lost workers."""

from collections.abc import Callable

import structlog

from core.db.repos.attempts import AttemptRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, on_commit, transaction

log = structlog.get_logger()


class LostJobReaper:
    """Ends the attempts whose lease has expired. Rounds are idempotent, so several processes may run them.

    Args:
        max_attempts: number of lost attempts after which a job fails.
        wake_relay: called after a commit with a new outbox row, to wake this process's outbox relay.
    """

    def __init__(self, sessions: SessionFactory, max_attempts: int, wake_relay: Callable[[], None]) -> None:
        self._sessions = sessions
        self._max_attempts = max_attempts
        self._wake_relay = wake_relay

    def run_once(self) -> None:
        """Queue the jobs of lost attempts again, or mark them as failed at the retry limit."""
        while self._release_some():
            pass

    def _release_some(self) -> bool:
        """Release a limited number of jobs. Return False if no lost job is left, or none could be released."""
        with transaction(self._sessions, read_only=True) as session:
            lost = AttemptRepo(session).find_expired_ids()
        return sum(map(self._release, lost)) > 0

    def _release(self, job_id: str) -> bool:
        with transaction(self._sessions) as session:
            job = AttemptRepo(session).release_expired_lease(job_id, self._max_attempts)
            if job is None:  # another process was faster, or the worker has renewed its lease
                return False
            log.warning("job.released", job_id=job_id, state=job.state, lost_attempts=job.lost_attempts)
            if OutboxRepo(session).add_missing("train", job_id):
                on_commit(session, self._wake_relay)
            return True
