"""Checks whether maintenance runs: `python -m worker.maintenance.health`, for health checks of containers.

The exit status is 0 if the loops that jobs and sweeps depend on completed a round recently. Several processes
share the records.
"""

import math
import sys
import time
from collections.abc import Callable

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from core.db.clock import now
from core.db.registry_tables import SystemReportRow
from core.db.repos.system_reports import SystemReportRepo
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.settings import Settings
from core.startup import load_settings_or_exit

LOOP = "maintenance"
REAPER = "reaper"
SWEEPS = "sweeps"
LOOPS = (LOOP, REAPER, SWEEPS)
NUM_MISSED_ROUNDS = 12
MIN_SILENCE_S = 300.0  # a round may wait for a database or a queue that does not respond


class RoundRecorder:
    """Stores that a round of a loop was completed, at most once per interval: rounds of sweeps are frequent.

    Args:
        loop: one of `LOOPS`.
        clock: returns the current time in seconds.
    """

    def __init__(
        self,
        sessions: SessionFactory,
        loop: str,
        interval_s: float = 0.0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sessions = sessions
        self._loop = loop
        self._interval_s = interval_s
        self._clock = clock
        self._next_at = -math.inf

    def record_round(self) -> None:
        """Store that a round was completed now."""
        if self._clock() < self._next_at:
            return
        with transaction(self._sessions) as session:
            SystemReportRepo(session).put(self._loop, {})
        self._next_at = self._clock() + self._interval_s


def has_recent_rounds(sessions: SessionFactory, settings: Settings) -> bool:
    """Return whether all loops completed a round recently, by the clock of the database."""
    silence_s = max(MIN_SILENCE_S, NUM_MISSED_ROUNDS * settings.maintenance_s)
    with transaction(sessions, read_only=True) as session:
        is_recent = SystemReportRow.computed_at > now(session, -silence_s)
        query = select(SystemReportRow.name).where(SystemReportRow.name.in_(LOOPS), is_recent)
        return len(session.scalars(query).all()) == len(LOOPS)


def main() -> None:
    """Print why maintenance is unhealthy, if it is, and exit with the status."""
    settings = load_settings_or_exit()
    engine = make_engine(settings.sqlalchemy_url)
    try:
        is_healthy = has_recent_rounds(make_session_factory(engine), settings)
    except SQLAlchemyError as error:
        sys.exit(f"The database cannot be read: {str(error).splitlines()[0]}")
    finally:
        engine.dispose()
    sys.exit(None if is_healthy else "Maintenance has not completed a round recently.")


if __name__ == "__main__":
    main()
