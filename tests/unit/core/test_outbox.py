"""Messages leave after the commit, once, and however long the queue was away."""

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
def dispatcher(sessions: SessionFactory, queue: MemoryQueue) -> Iterator[OutboxRelay]:
    dispatcher = OutboxRelay(sessions, queue, poll_s=3600.0)
    yield dispatcher
    dispatcher.close()


def leave(sessions: SessionFactory, topic: Topic, subject_id: str, dispatcher: OutboxRelay | None = None) -> None:
    with transaction(sessions) as session:
        OutboxRepo(session).add(topic, subject_id)
        if dispatcher is not None:
            on_commit(session, dispatcher.wake)


def left(sessions: SessionFactory) -> int:
    with transaction(sessions) as session:
        return OutboxRepo(session).count()


def test_messages_leave_in_order_and_their_rows_go(
    sessions: SessionFactory, queue: MemoryQueue, dispatcher: OutboxRelay
) -> None:
    for number in range(3):
        leave(sessions, "train", f"job-{number}")
    leave(sessions, "import", "version-1")
    assert dispatcher.relay() == 4
    assert queue.sent == [("train", "job-0"), ("train", "job-1"), ("train", "job-2"), ("import", "version-1")]
    assert left(sessions) == 0


def test_what_did_not_leave_stays(sessions: SessionFactory, queue: MemoryQueue, dispatcher: OutboxRelay) -> None:
    leave(sessions, "train", "job-0")
    queue.is_unavailable = True
    with pytest.raises(QueueUnavailable):
        dispatcher.relay()
    assert left(sessions) == 1


def test_a_kick_after_the_commit_wakes_the_thread(
    sessions: SessionFactory, queue: MemoryQueue, dispatcher: OutboxRelay
) -> None:
    dispatcher.start()
    leave(sessions, "train", "job-0", dispatcher)
    wait_for(lambda: queue.sent == [("train", "job-0")], "the message")
    wait_for(lambda: left(sessions) == 0, "its row to go")


def test_the_thread_tries_again_until_the_queue_is_back(
    sessions: SessionFactory, queue: MemoryQueue, dispatcher: OutboxRelay
) -> None:
    queue.is_unavailable = True
    dispatcher.start()
    leave(sessions, "train", "job-0", dispatcher)
    with pytest.raises(TimeoutError):
        wait_for(lambda: queue.sent, "a message that cannot leave", 0.5)
    queue.is_unavailable = False
    wait_for(lambda: queue.sent == [("train", "job-0")], "the message")


def test_a_rollback_sends_nothing(sessions: SessionFactory, queue: MemoryQueue, dispatcher: OutboxRelay) -> None:
    kicks: list[str] = []
    with pytest.raises(OperationalError), transaction(sessions) as session:
        OutboxRepo(session).add("train", "job-0")
        on_commit(session, lambda: kicks.append("kicked"))
        raise OperationalError("SELECT 1", {}, Exception("gone"))
    assert (dispatcher.relay(), queue.sent, kicks) == (0, [], [])
