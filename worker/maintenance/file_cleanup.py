"""The file cleanup, which deletes expired results and orphaned files, and measures the disk usage."""

import structlog

from core.db.session import SessionFactory
from core.settings import Settings
from core.storage import Storage
from worker.maintenance.disk_usage import store_disk_usage
from worker.maintenance.orphaned_files import find_orphaned_files
from worker.maintenance.retention import Retention

log = structlog.get_logger()
FULL_CLEANUP_ROUNDS = 60
"""Orphaned files are searched for once in this number of rounds."""


class FileCleanup:
    """Runs rounds of cleanup. Rounds are idempotent, so several processes may run them at the same time."""

    def __init__(self, settings: Settings, sessions: SessionFactory, storage: Storage) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._retention = Retention(settings, sessions, storage)
        self._round_number = 0

    def run_once(self) -> None:
        """Run one round. Most rounds only continue the deletion of expired results."""
        is_full = self._round_number % FULL_CLEANUP_ROUNDS == 0
        self._round_number += 1
        if is_full or self._retention.has_more:
            self._retention.run_round()
        if is_full:
            self._delete_orphaned_files()
            store_disk_usage(self._settings, self._sessions, self._storage)

    def _delete_orphaned_files(self) -> None:
        self._storage.delete_abandoned_scratch()
        min_age_s = max(60.0, 2 * self._settings.lease_s)
        for key in find_orphaned_files(
            self._sessions, self._storage, min_age_s, archive_days=self._settings.archive_retention_days
        ):
            log.info("files.deleted", key=key)
            self._storage.delete(key)
