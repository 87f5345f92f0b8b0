"""Messages are sent after the commit, and retried while the queue is unavailable."""

from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from core.db.repos.outbox import OutboxRepo, Topic
from core.db.session import SessionFactory, on_commit, transaction
from core.outbox import OutboxRelay
from core.queue import QueueUnavailable
from tests.support.fakes import MemoryQueue
from tests.support.processes import wait_for


@pytest.fixture
def queue() -> MemoryQueue:
    return MemoryQueue()


@pytest.fixture
def relay(sessions: SessionFactory, queue: MemoryQueue) -> Iterator[OutboxRelay]:
    relay = OutboxRelay(sessions, queue, poll_s=3600.0)
    yield relay
    relay.close()


def add_message(sessions: SessionFactory, topic: Topic, subject_id: str, relay: OutboxRelay | None = None) -> None:
    with transaction(sessions) as session:
        OutboxRepo(session).add(topic, subject_id)
        if relay is not None:
            on_commit(session, relay.wake)


def count_messages(sessions: SessionFactory) -> int:
    with transaction(sessions) as session:
        return OutboxRepo(session).count()


def test_messages_are_sent_in_order_and_their_rows_are_deleted(
    sessions: SessionFactory, queue: MemoryQueue, relay: OutboxRelay
) -> None:
    for number in range(3):
        add_message(sessions, "train", f"job-{number}")
    add_message(sessions, "import", "version-1")
    assert relay.relay() == 4
    assert queue.sent == [("train", "job-0"), ("train", "job-1"), ("train", "job-2"), ("import", "version-1")]
    assert count_messages(sessions) == 0


def test_unsent_messages_stay_in_the_outbox(sessions: SessionFactory, queue: MemoryQueue, relay: OutboxRelay) -> None:
    add_message(sessions, "train", "job-0")
    queue.is_unavailable = True
    with pytest.raises(QueueUnavailable):
        relay.relay()
    assert count_messages(sessions) == 1


def test_waking_after_the_commit_sends_the_message(
    sessions: SessionFactory, queue: MemoryQueue, relay: OutboxRelay
) -> None:
    relay.start()
    add_message(sessions, "train", "job-0", relay)
    wait_for(lambda: queue.sent == [("train", "job-0")], "the message")
    wait_for(lambda: count_messages(sessions) == 0, "the deletion of its row")


def test_the_thread_retries_until_the_queue_is_available(
    sessions: SessionFactory, queue: MemoryQueue, relay: OutboxRelay
) -> None:
    queue.is_unavailable = True
    relay.start()
    add_message(sessions, "train", "job-0", relay)
    with pytest.raises(TimeoutError):
        wait_for(lambda: queue.sent, "a message of an unavailable queue", 0.5)
    queue.is_unavailable = False
    wait_for(lambda: queue.sent == [("train", "job-0")], "the message")


def test_a_rollback_sends_nothing(sessions: SessionFactory, queue: MemoryQueue, relay: OutboxRelay) -> None:
    actions: list[str] = []
    with pytest.raises(OperationalError), transaction(sessions) as session:
        OutboxRepo(session).add("train", "job-0")
        on_commit(session, lambda: actions.append("action"))
        raise OperationalError("SELECT 1", {}, Exception("gone"))
    assert (relay.relay(), queue.sent, actions) == (0, [], [])
