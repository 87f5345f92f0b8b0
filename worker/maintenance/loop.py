"""The maintenance loop, which resends lost messages, deletes expired rows and uploads, and sends canaries."""

from collections.abc import Callable
from datetime import timedelta

import structlog

from core import queue as queues
from core.db.repos.datasets import DatasetRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.outbox import OutboxRepo, Topic
from core.db.repos.uploads import UploadRepo
from core.db.repos.workers import WorkerRepo
from core.db.session import SessionFactory, on_commit, transaction
from core.queue import CANARY, Queue, QueueUnavailable
from core.settings import Settings
from core.storage import Storage
from core.storage.deletion import delete_stored_files
from worker.maintenance.metric_rollups import MetricBackfill
from worker.maintenance.orphaned_files import UPLOAD_PARTS

log = structlog.get_logger()
IDEMPOTENCY_KEY_LIFETIME = timedelta(days=1)
SILENT_WORKER_LIFETIME = timedelta(hours=1)
MAX_WAITING_MESSAGES = 100


class MaintenanceLoop:
    """Runs rounds of maintenance. Rounds are idempotent, so several processes may run them at the same time.

    Args:
        wake_relay: called after a commit with a new outbox row, to wake this process's outbox relay.
    """

    def __init__(
        self,
        settings: Settings,
        sessions: SessionFactory,
        storage: Storage,
        queue: Queue,
        wake_relay: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._sessions = sessions
        self._storage = storage
        self._queue = queue
        self._wake_relay = wake_relay
        self._metric_backfill = MetricBackfill(sessions)

    def run_once(self) -> None:
        """Run one round."""
        self._resend_lost_messages()
        self._delete_expired_rows()
        self._delete_expired_uploads()
        self._send_canaries()
        self._metric_backfill.run_round()

    def _resend_lost_messages(self) -> None:
        older_than_s = 2 * self._settings.maintenance_s
        with transaction(self._sessions, read_only=True) as session:
            queue = JobQueueRepo(session)
            jobs = queue.find_ids_without_message(older_than_s, limit=10, gpu=False)
            gpu_jobs = queue.find_ids_without_message(older_than_s, limit=10, gpu=True)
            versions = DatasetRepo(session).find_unclaimed_ids(older_than_s, limit=10)
        self._resend_messages("train", jobs, "train")
        self._resend_messages("train", gpu_jobs, "train-gpu")
        self._resend_messages("import", versions, "import")

    def _resend_messages(self, topic: Topic, ids: list[str], queue: queues.Topic) -> None:
        # A job that waits for a slot cannot be distinguished from a job whose message was lost, so the messages of both
        # are sent again. The limit on waiting messages keeps the queue short.
        if not ids or not self._has_room(queue):
            return
        with transaction(self._sessions) as session:
            for subject_id in ids:
                if OutboxRepo(session).add_missing(topic, subject_id):
                    on_commit(session, self._wake_relay)

    def _has_room(self, queue: queues.Topic) -> bool:
        try:
            return self._queue.depth(queue) < MAX_WAITING_MESSAGES
        except QueueUnavailable:
            return True  # the messages stay in the outbox, which stays short: it has at most one row per id

    def _delete_expired_rows(self) -> None:
        with transaction(self._sessions) as session:
            IdempotencyRepo(session).delete_older_than(IDEMPOTENCY_KEY_LIFETIME)
            WorkerRepo(session).delete_stale(SILENT_WORKER_LIFETIME)

    def _delete_expired_uploads(self) -> None:
        with transaction(self._sessions) as session:
            expired = UploadRepo(session).delete_expired()
        for upload_id in expired:
            log.info("upload.expired", upload_id=upload_id)
        delete_stored_files(self._storage, [f"{UPLOAD_PARTS}/{upload_id}" for upload_id in expired])

    def _send_canaries(self) -> None:
        """Send one canary message per worker, to check the workers' connections to the queue.

        A worker that receives no messages for a long time has lost its connection.
        """
        with transaction(self._sessions, read_only=True) as session:
            num_workers = len(WorkerRepo(session).list_alive(3 * self._settings.heartbeat_s))
        try:
            if self._queue.depth("train") == 0:  # waiting messages serve the same purpose as canaries
                for _ in range(num_workers):
                    self._queue.put("train", CANARY)
        except QueueUnavailable as error:
            log.warning("canary.not_sent", error=str(error))
