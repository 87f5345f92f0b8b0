"""Computes which parameters of a sweep matter, in a child process, and caches the results."""

import os
import subprocess
from typing import NamedTuple

import structlog
from anyio import CapacityLimiter
from anyio.to_thread import run_sync

from core.child_environment import build_child_environment
from core.db.repos.sweeps import SweepRepo
from core.db.session import SessionFactory, transaction
from core.errors import Overloaded
from core.python_process import PYTHON, set_import_path
from core.sweeps import importance_process
from core.sweeps.importance import ImportanceReport
from core.sweeps.spec import SweepSpec
from core.sweeps.trial_requests import encode_request
from core.sweeps.trials import SweepTrial

log = structlog.get_logger(__name__)
MAX_COMPUTE_S = 60.0
MAX_WAITING_REPORTS = 8
MAX_CACHED_REPORTS = 100
MODULE = importance_process.__name__


class SweepImportance(NamedTuple):
    """The report for a revision of a sweep; None: too few trials have a score."""

    revision: int
    report: ImportanceReport | None


class SweepImportanceService:
    """Computes one report at a time. A report is cached until the sweep changes; a cached one waits for no other."""

    def __init__(self, sessions: SessionFactory) -> None:
        self._sessions = sessions
        self._thread = CapacityLimiter(1)
        self._num_waiting = 0
        self._cached: dict[str, SweepImportance] = {}

    async def get_importance(self, sweep_id: str) -> SweepImportance:
        """Return the importance of the parameters of a sweep.

        Raises:
            NotFound: the sweep does not exist.
            Overloaded: too many reports are being computed, or this one takes too long.
        """
        cached = await run_sync(self._find_cached, sweep_id)
        if cached is not None:
            return cached
        if self._num_waiting >= MAX_WAITING_REPORTS:
            raise Overloaded("Too many importances are being computed; try again later.", waiting=self._num_waiting)
        self._num_waiting += 1
        try:
            return await run_sync(self._compute, sweep_id, limiter=self._thread)
        finally:
            self._num_waiting -= 1

    def _find_cached(self, sweep_id: str) -> SweepImportance | None:
        """Return the report for the present revision, if it was computed. Raises NotFound."""
        with transaction(self._sessions, read_only=True) as session:
            revision = SweepRepo(session).get(sweep_id).revision
        cached = self._cached.get(sweep_id)
        return cached if cached is not None and cached.revision == revision else None

    def _compute(self, sweep_id: str) -> SweepImportance:
        with transaction(self._sessions, read_only=True) as session:
            sweeps = SweepRepo(session)
            row = sweeps.get(sweep_id)
            cached = self._cached.get(sweep_id)
            if cached is not None and cached.revision == row.revision:
                return cached
            trials = sweeps.list_trials(sweep_id)
        result = SweepImportance(row.revision, _run_process(SweepSpec.model_validate(row.spec), trials))
        self._cached.pop(sweep_id, None)
        self._cached[sweep_id] = result
        if len(self._cached) > MAX_CACHED_REPORTS:
            del self._cached[next(iter(self._cached))]
        return result


def _run_process(sweep: SweepSpec, trials: list[SweepTrial]) -> ImportanceReport | None:
    environment = build_child_environment(os.environ) | {"OMP_NUM_THREADS": "1"}
    try:
        done = subprocess.run(  # noqa: S603 - the command is constant
            [*PYTHON, "-m", MODULE],
            input=encode_request(sweep, trials),
            env=set_import_path(environment),
            capture_output=True,
            timeout=MAX_COMPUTE_S,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise Overloaded(f"The importance was not computed within {MAX_COMPUTE_S:.0f} s; try again later.") from None
    except subprocess.CalledProcessError as error:
        log.exception(
            "importance.process_failed", status=error.returncode, output=error.stderr.decode(errors="replace")[-2000:]
        )
        raise
    return importance_process.decode_response(done.stdout)
