"""Builds the rollups of metric curves of earlier versions in short transactions, over several rounds of maintenance."""

import time
from collections.abc import Callable, Iterator

import structlog

from core.db.repos.metric_backfill import IncompleteJob, MetricBackfillRepo
from core.db.session import SessionFactory, transaction

log = structlog.get_logger()
MAX_ROUND_S = 1.0
IDLE_S = 60.0  # between two searches for jobs without rollups


class MetricBackfill:
    """Builds missing rollups. Several processes may do this at the same time: they store the same rows."""

    def __init__(self, sessions: SessionFactory, clock: Callable[[], float] = time.monotonic) -> None:
        self._sessions = sessions
        self._clock = clock
        self._pending: Iterator[None] = iter(())
        self._idle_until = clock()

    def run_round(self, max_round_s: float = MAX_ROUND_S) -> None:
        """Continue the build for about `max_round_s` seconds. Each transaction stores one part of one curve."""
        deadline = self._clock() + max_round_s
        is_new = False
        while self._idle_until <= self._clock() < deadline:
            try:
                next(self._pending)
                is_new = False
            except StopIteration:
                if is_new:  # all jobs are complete, or run now
                    self._idle_until = self._clock() + IDLE_S
                self._pending, is_new = self._build_all(), True

    def _build_all(self) -> Iterator[None]:
        with transaction(self._sessions, read_only=True) as session:
            jobs = MetricBackfillRepo(session).list_incomplete_jobs()
        for job in jobs:
            yield from self._build_job(job)

    def _build_job(self, job: IncompleteJob) -> Iterator[None]:
        with transaction(self._sessions, read_only=True) as session:
            curves = MetricBackfillRepo(session).list_curves(job.id)
        for split, name in curves:
            step, is_last = -1, False
            while not is_last:
                with transaction(self._sessions, read_only=True) as session:
                    chunk = MetricBackfillRepo(session).read_chunk(job.id, split, name, step)
                if not chunk.points:
                    break
                with transaction(self._sessions) as session:
                    if not MetricBackfillRepo(session).store_chunk(job, chunk):
                        return
                step, is_last = chunk.points[-1].step, chunk.is_last
                yield
        with transaction(self._sessions) as session:
            if MetricBackfillRepo(session).finish(job):
                log.info("rollups.built", job_id=job.id, num_curves=len(curves))
        yield
