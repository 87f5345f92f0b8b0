"""Sends the messages of the outbox table to the queue. Retries while the queue is unavailable."""

import threading
from collections.abc import Callable

import structlog
from sqlalchemy.exc import SQLAlchemyError

from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.queue import Queue, QueueUnavailable, Topic

log = structlog.get_logger()
_BATCH = 100
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0


class OutboxRelay:
    """A thread that sends the messages of the outbox table to the queue, and then deletes their rows.

    Messages are delivered at least once. Several relays can use the same table at the same time.
    """

    def __init__(self, sessions: SessionFactory, queue: Queue, *, poll_s: float = 1.0) -> None:
        self._sessions, self._queue, self._poll_s = sessions, queue, poll_s
        self._wake_event = threading.Event()
        self._stop_event = threading.Event()
        self._thread = threading.Thread(target=self._run, name="outbox-relay", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def wake(self) -> None:
        """Wake the thread, so that it sends new messages now, for example with `on_commit(session, relay.wake)`."""
        self._wake_event.set()

    def close(self) -> None:
        """Stop the thread. Messages that were not sent stay in the outbox."""
        self._stop_event.set()
        self._wake_event.set()
        if self._thread.is_alive():
            self._thread.join()

    def relay(self) -> int:
        """Send all messages of the outbox. Return the number of sent messages.

        Raises:
            QueueUnavailable: the queue is unavailable; the remaining messages stay in the outbox.
        """
        count = 0
        while batch_count := self._relay_batch():
            count += batch_count
        return count

    def _relay_batch(self) -> int:
        with transaction(self._sessions, read_only=True) as session:
            rows = OutboxRepo(session).list_oldest(_BATCH)
            gpu = JobQueueRepo(session).filter_gpu_ids([row.subject_id for row in rows if row.topic == "train"])
        sent: list[int] = []
        try:
            for row in rows:
                train: Topic = "train-gpu" if row.subject_id in gpu else "train"
                self._queue.put(train if row.topic == "train" else "import", row.subject_id)
                sent.append(row.id)
        finally:
            if sent:
                with transaction(self._sessions) as session:
                    OutboxRepo(session).delete(sent)
        return len(sent)

    def _run(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while not self._stop_event.is_set():
            self._wake_event.clear()
            if _try_relay(self.relay):
                pause_s = _FIRST_PAUSE_S
                self._wake_event.wait(self._poll_s)
            else:
                self._stop_event.wait(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


def _try_relay(relay: Callable[[], int]) -> bool:
    try:
        relay()
    except (QueueUnavailable, SQLAlchemyError) as error:
        log.warning("outbox.relay_failed", error=str(error))
        return False
    return True
