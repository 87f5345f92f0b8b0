"""The maintenance loop, which handles lost attempts, lost messages, expired rows and orphaned files.

Run it with `python -m worker.maintenance`.
"""

import signal
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from core import queue as queues
from core.bus import RedisBus
from core.db.repos.attempts import AttemptRepo
from core.db.repos.datasets import DatasetRepo
from core.db.repos.idempotency import IdempotencyRepo
from core.db.repos.outbox import OutboxRepo, Topic
from core.db.repos.uploads import UploadRepo
from core.db.repos.workers import WorkerRepo
from core.db.schema import check_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, on_commit, transaction
from core.errors import Unavailable
from core.file_permissions import apply_umask
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import CANARY, CeleryQueue, Queue, QueueUnavailable
from core.settings import Settings
from core.startup import exit_on_configuration_error, load_settings_or_exit
from core.storage import Storage, open_storage, require_storage
from core.storage.deletion import delete_stored_files
from worker.maintenance.metric_rollups import MetricBackfill
from worker.maintenance.orphaned_files import UPLOAD_PARTS, find_orphaned_files

log = structlog.get_logger()
IDEMPOTENCY_KEY_LIFETIME = timedelta(days=1)
SILENT_WORKER_LIFETIME = timedelta(hours=1)
MAX_WAITING_MESSAGES = 100
_FILE_CLEANUP_ROUNDS = 60  # delete orphaned files once in this number of rounds


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

    def run_once(self, *, with_files: bool = True) -> None:
        """Run one round. With `with_files`, also delete orphaned files."""
        self._release_lost_jobs()
        self._resend_lost_messages()
        self._delete_expired_rows()
        self._delete_expired_uploads()
        self._send_canaries()
        self._metric_backfill.run_round()
        if with_files:
            self._delete_orphaned_files()

    def _release_lost_jobs(self) -> None:
        with transaction(self._sessions, read_only=True) as session:
            lost = AttemptRepo(session).find_expired_ids()
        for job_id in lost:
            with transaction(self._sessions) as session:
                job = AttemptRepo(session).release_expired_lease(job_id, self._settings.max_attempts)
                if job is not None:
                    log.warning("job.released", job_id=job_id, state=job.state, lost_attempts=job.lost_attempts)
                    self._add_message(session, "train", job_id)

    def _resend_lost_messages(self) -> None:
        older_than_s = 2 * self._settings.maintenance_s
        with transaction(self._sessions, read_only=True) as session:
            jobs = AttemptRepo(session).find_ids_without_message(older_than_s, limit=10, gpu=False)
            gpu_jobs = AttemptRepo(session).find_ids_without_message(older_than_s, limit=10, gpu=True)
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
                self._add_message(session, topic, subject_id)

    def _has_room(self, queue: queues.Topic) -> bool:
        try:
            return self._queue.depth(queue) < MAX_WAITING_MESSAGES
        except QueueUnavailable:
            return True  # the messages stay in the outbox, which stays short: it has at most one row per id

    def _add_message(self, session: Session, topic: Topic, subject_id: str) -> None:
        outbox = OutboxRepo(session)
        if not outbox.is_pending(topic, subject_id):
            outbox.add(topic, subject_id)
            on_commit(session, self._wake_relay)

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

    def _delete_orphaned_files(self) -> None:
        self._storage.delete_abandoned_scratch()
        min_age_s = max(60.0, 2 * self._settings.lease_s)
        for key in find_orphaned_files(self._sessions, self._storage, min_age_s):
            log.info("files.deleted", key=key)
            self._storage.delete(key)


def main() -> None:
    """Run rounds of maintenance until the process receives SIGTERM or SIGINT."""
    settings = load_settings_or_exit()
    apply_umask(settings.umask)
    configure_logging(settings.log_level)
    stop_event = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop_event.set())
    with exit_on_configuration_error():
        engine = make_engine(settings.sqlalchemy_url)
        check_schema(engine)
        bus, queue = RedisBus(settings.redis_url), CeleryQueue(settings.redis_url)
        storage = open_storage(
            settings.effective_storage_url, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes
        )
        require_storage(storage)
    sessions = make_session_factory(engine, bus.publish)
    relay = OutboxRelay(sessions, queue)
    relay.start()
    loop = MaintenanceLoop(settings, sessions, storage, queue, relay.wake)
    round_number = 0
    while not stop_event.wait(settings.maintenance_s if round_number else 0.0):
        try:
            loop.run_once(with_files=round_number % _FILE_CLEANUP_ROUNDS == 0)
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.warning("maintenance.round_failed", error=str(error))
        except Exception:  # a bug in one round must not end the loop
            log.exception("maintenance.round_crashed")
        round_number += 1
    relay.close()
    bus.close()
    engine.dispose()
