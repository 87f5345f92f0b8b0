"""Renews the lease of an import while its dataset is packed."""

import time
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.datasets import DatasetRepo
from core.db.session import SessionFactory, is_database_unavailable, transaction
from core.errors import LostLease

log = structlog.get_logger(__name__)
# Without a renewal, an import ends after this fraction of `lease_s`, before another worker can claim it.
_LEASE_SHARE = 0.8


class ImportLease:
    """The lease of one claimed import. Create this object right after the claim, which counts as the first renewal.

    Args:
        lease_s: seconds from a renewal until the lease expires.
        heartbeat_s: seconds between two renewals.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        version_id: str,
        token: int,
        *,
        lease_s: float,
        heartbeat_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._version_id = version_id
        self._token = token
        self._lease_s = lease_s
        self._heartbeat_s = heartbeat_s
        self._clock = clock
        self._renewed_at = self._attempted_at = clock()

    def renew_if_due(self) -> None:
        """Renew the lease if `heartbeat_s` seconds have passed since the last attempt to renew it.

        Raises:
            LostLease: another worker claimed the import, or the lease could not be renewed in time.
        """
        now = self._clock()
        if now - self._attempted_at < self._heartbeat_s:
            return
        self._attempted_at = now
        if self._renew_lease():
            self._renewed_at = now
        elif now - self._renewed_at > self._lease_s * _LEASE_SHARE:
            raise LostLease("The lease could not be renewed in time.")

    def _renew_lease(self) -> bool:
        try:
            with transaction(self._sessions) as session:
                DatasetRepo(session).renew_lease(self._version_id, self._token, self._lease_s)
        except SQLAlchemyError as error:
            if not is_database_unavailable(error):
                raise
            log.warning("import.renewal_failed", error=str(error))
            return False
        return True
