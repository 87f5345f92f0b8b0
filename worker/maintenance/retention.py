"""Deletes expired checkpoints, artifacts and jobs in bounded batches, and reports what has expired."""

from collections.abc import Callable
from typing import Any

import structlog
from sqlalchemy.orm import Session

from core.db.repos.retention import RetentionRepo
from core.db.repos.system_reports import SystemReportRepo
from core.db.session import SessionFactory, transaction
from core.settings import Settings
from core.storage import Storage
from core.storage.deletion import delete_stored_files

log = structlog.get_logger()

REPORT = "retention"
MAX_JOBS = 50  # jobs of each kind of deletion per round
ROWS_PER_TRANSACTION = 5000  # a transaction on SQLite blocks all other writers
MAX_TRANSACTIONS = 40  # per round, of each kind of deletion of rows


class Retention:
    """Applies the retention settings. Rounds are idempotent, so several processes may run them at the same time."""

    def __init__(self, settings: Settings, sessions: SessionFactory, storage: Storage) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self.has_more = False
        """Whether the last round left expired items."""

    def run_round(self) -> None:
        """Store the report of what has expired, then delete a batch of it, unless it is a dry run."""
        self._store_report()
        settings = self._settings
        if settings.retention_dry_run:
            return
        self.has_more = False
        # Whole jobs first: they take their checkpoints and artifacts along.
        if settings.job_retention_days:
            self._delete_jobs(settings.job_retention_days)
        if days := settings.event_retention_days:
            self._delete_rows(
                "events",
                lambda repo: repo.find_event_jobs(days, MAX_JOBS),
                lambda repo, job_id: repo.delete_events(job_id, days, ROWS_PER_TRANSACTION),
            )
        if days := settings.metric_retention_days:
            self._delete_rows(
                "points",
                lambda repo: repo.find_point_jobs(days, MAX_JOBS),
                lambda repo, job_id: repo.delete_points(job_id, days, ROWS_PER_TRANSACTION),
            )
        if days := settings.checkpoint_retention_days:
            self._delete_files(
                "checkpoints",
                lambda repo: repo.find_checkpoint_jobs(days, MAX_JOBS),
                lambda repo, job_id: repo.delete_checkpoints(job_id, days),
            )
        if days := settings.artifact_retention_days:
            self._delete_files(
                "artifacts",
                lambda repo: repo.find_artifact_jobs(days, MAX_JOBS),
                lambda repo, job_id: repo.delete_artifacts(job_id, days),
            )

    def _delete_jobs(self, days: float) -> None:
        expired = self._read(lambda repo: repo.find_expired_jobs(days, MAX_JOBS))
        self.has_more |= len(expired) == MAX_JOBS
        remaining = MAX_TRANSACTIONS
        for job_id in expired:
            num_deleted = ROWS_PER_TRANSACTION
            while num_deleted and remaining:
                remaining -= 1
                with transaction(self._sessions) as session:
                    num_deleted = RetentionRepo(session).delete_job_rows(job_id, days, ROWS_PER_TRANSACTION)
            if num_deleted:  # the rest follows in the next round
                self.has_more = True
                return
            with transaction(self._sessions) as session:
                keys = RetentionRepo(session).delete_job(job_id, days)
            delete_stored_files(self._storage, keys)
            log.info("job.expired", job_id=job_id)

    def _delete_rows(
        self, kind: str, find: Callable[[RetentionRepo], list[str]], delete: Callable[[RetentionRepo, str], int]
    ) -> None:
        """Delete rows of jobs. A job whose rows are not all deleted yet is found again in the next round."""
        expired = self._read(find)
        self.has_more |= len(expired) == MAX_JOBS
        remaining = MAX_TRANSACTIONS
        for job_id in expired:
            total, num_deleted = 0, ROWS_PER_TRANSACTION
            while num_deleted == ROWS_PER_TRANSACTION and remaining:
                remaining -= 1
                with transaction(self._sessions) as session:
                    num_deleted = delete(RetentionRepo(session), job_id)
                total += num_deleted
            if total:
                log.info(f"{kind}.expired", job_id=job_id, num_rows=total)
            if num_deleted == ROWS_PER_TRANSACTION:  # the rest follows in the next round
                self.has_more = True
                return

    def _delete_files(
        self, kind: str, find: Callable[[RetentionRepo], list[str]], delete: Callable[[RetentionRepo, str], list[str]]
    ) -> None:
        expired = self._read(find)
        self.has_more |= len(expired) == MAX_JOBS
        for job_id in expired:
            with transaction(self._sessions) as session:
                keys = delete(RetentionRepo(session), job_id)
            delete_stored_files(self._storage, keys)
            log.info(f"{kind}.expired", job_id=job_id, num_files=len(keys))

    def _read(self, find: Callable[[RetentionRepo], list[str]]) -> list[str]:
        with transaction(self._sessions, read_only=True) as session:
            return find(RetentionRepo(session))

    def _store_report(self) -> None:
        with transaction(self._sessions, read_only=True) as session:
            content = self._compute_report(session)
        with transaction(self._sessions) as session:
            SystemReportRepo(session).put(REPORT, content)

    def _compute_report(self, session: Session) -> dict[str, Any]:
        repo, settings = RetentionRepo(session), self._settings
        sums = {
            "checkpoints": (settings.checkpoint_retention_days, repo.sum_checkpoints),
            "artifacts": (settings.artifact_retention_days, repo.sum_artifacts),
            "events": (settings.event_retention_days, repo.count_event_jobs),
            "metrics": (settings.metric_retention_days, repo.count_point_jobs),
            "jobs": (settings.job_retention_days, repo.sum_jobs),
        }
        content: dict[str, Any] = {"is_dry_run": settings.retention_dry_run}
        for kind, (days, compute) in sums.items():
            totals = compute(days)._asdict() if days else {"num_expired": 0, "expired_bytes": 0}
            content[kind] = {"days": days or None, **totals}
        return content
