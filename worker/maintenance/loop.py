"""The maintenance loop: finds lost attempts, lost messages and expired files (`python -m worker.maintenance`)."""

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
from core.db.repos.workers import WorkerRepo
from core.db.schema import check_schema
from core.db.session import SessionFactory, make_engine, make_sessions, on_commit, transaction
from core.errors import Unavailable
from core.logging import configure_logging
from core.outbox import OutboxRelay
from core.queue import CANARY, CeleryQueue, Queue, QueueUnavailable
from core.settings import Settings
from core.startup import exit_on_configuration_error, settings_or_exit
from core.storage import Storage, open_storage
from worker.maintenance.orphaned_files import orphans

log = structlog.get_logger()
KEYS_LIVE = timedelta(days=1)
WORKERS_ARE_REMEMBERED = timedelta(hours=1)
MAX_WAITING_MESSAGES = 100
_FILES_EVERY = 60  # rounds


class Sweep:
    """One round may be made at any time, by several processes at once, and twice: it does no harm.

    Args:
        kick: wakes the dispatcher; called after a commit.
    """

    def __init__(
        self, settings: Settings, sessions: SessionFactory, storage: Storage, queue: Queue, kick: Callable[[], None]
    ) -> None:
        self._settings, self._sessions, self._storage = settings, sessions, storage
        self._queue, self._kick = queue, kick

    def once(self, *, with_files: bool = True) -> None:
        """One round."""
        self._release_lost_jobs()
        self._send_lost_messages()
        self._forget_the_old()
        self._send_canaries()
        if with_files:
            self._delete_orphans()

    def _release_lost_jobs(self) -> None:
        with transaction(self._sessions, read_only=True) as session:
            lost = AttemptRepo(session).find_expired()
        for job_id in lost:
            with transaction(self._sessions) as session:
                job = AttemptRepo(session).release_lost(job_id, self._settings.max_attempts)
                if job is not None:
                    log.warning("sweep.job_released", job_id=job_id, state=job.state, lost_attempts=job.lost_attempts)
                    self._look_again(session, "train", job_id)

    def _send_lost_messages(self) -> None:
        patience_s = 2 * self._settings.sweep_s
        with transaction(self._sessions, read_only=True) as session:
            jobs = AttemptRepo(session).find_unsent(patience_s, limit=10, gpu=False)
            gpu_jobs = AttemptRepo(session).find_unsent(patience_s, limit=10, gpu=True)
            versions = DatasetRepo(session).find_unclaimed(patience_s, limit=10)
        self._send_again("train", jobs, "train")
        self._send_again("train", gpu_jobs, "train-gpu")
        self._send_again("import", versions, "import")

    def _send_again(self, topic: Topic, ids: list[str], queue: queues.Topic) -> None:
        # A job that waits for its turn looks like one whose message was lost: the queue's length bounds the excess.
        if not ids or not self._has_room(queue):
            return
        with transaction(self._sessions) as session:
            for subject_id in ids:
                self._look_again(session, topic, subject_id)

    def _has_room(self, queue: queues.Topic) -> bool:
        try:
            return self._queue.depth(queue) < MAX_WAITING_MESSAGES
        except QueueUnavailable:
            return True  # one row of the outbox at most for every subject

    def _look_again(self, session: Session, topic: Topic, subject_id: str) -> None:
        outbox = OutboxRepo(session)
        if not outbox.is_waiting(topic, subject_id):
            outbox.add(topic, subject_id)
            on_commit(session, self._kick)

    def _forget_the_old(self) -> None:
        with transaction(self._sessions) as session:
            IdempotencyRepo(session).delete_older(KEYS_LIVE)
            WorkerRepo(session).delete_silent(WORKERS_ARE_REMEMBERED)

    def _send_canaries(self) -> None:
        """A worker that lives and takes none of them has lost its queue. One each, since they take turns."""
        with transaction(self._sessions, read_only=True) as session:
            num_workers = len(WorkerRepo(session).alive(3 * self._settings.heartbeat_s))
        try:
            if self._queue.depth("train") == 0:  # else there is enough to take
                for _ in range(num_workers):
                    self._queue.put("train", CANARY)
        except QueueUnavailable as error:
            log.warning("sweep.no_canary", error=str(error))

    def _delete_orphans(self) -> None:
        self._storage.sweep_scratch()
        min_age_s = max(60.0, 2 * self._settings.lease_s)
        for key in orphans(self._sessions, self._storage, min_age_s):
            log.info("sweep.orphan_deleted", key=key)
            self._storage.delete(key)


def main() -> None:
    """Sweep until a signal asks to stop."""
    settings = settings_or_exit()
    configure_logging(settings.log_level)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())
    engine = make_engine(settings.sqlalchemy_url)
    with exit_on_configuration_error():
        check_schema(engine)
        bus, queue = RedisBus(settings.redis_url), CeleryQueue(settings.redis_url)
        storage = open_storage(settings.store, cache=settings.cache_dir, max_cache_bytes=settings.max_cache_bytes)
    sessions = make_sessions(engine, bus.publish)
    dispatcher = OutboxRelay(sessions, queue)
    dispatcher.start()
    sweep = Sweep(settings, sessions, storage, queue, dispatcher.kick)
    round_number = 0
    while not stopped.wait(settings.sweep_s if round_number else 0.0):
        try:
            sweep.once(with_files=round_number % _FILES_EVERY == 0)
        except (SQLAlchemyError, OSError, Unavailable) as error:
            log.warning("sweep.round_failed", error=str(error))
        except Exception:  # a defect in one chore must not end all the others for ever
            log.exception("sweep.round_broke")
        round_number += 1
    dispatcher.close()
    bus.close()
    engine.dispose()
