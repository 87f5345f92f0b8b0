"""The events of jobs are numbered without gaps."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from core.db.repos.events import EventRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow
from core.errors import NotFound
from core.events import EventType


def test_concurrent_events_are_numbered_without_gaps(sessions: SessionFactory, queued: JobRow) -> None:
    def append(writer: int) -> None:
        for number in range(5):
            with transaction(sessions) as session:
                entries = [(EventType.LOG, {"writer": writer, "number": number, "half": half}) for half in (0, 1)]
                EventRepo(session).append(queued.id, entries)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, range(4)))
    with transaction(sessions) as session:
        events = EventRepo(session).list_after(queued.id, 0)
        assert [event.seq for event in events] == list(range(1, 42))
        assert [event.seq for event in EventRepo(session).list_after(queued.id, 39)] == [40, 41]
        assert len(EventRepo(session).list_after(queued.id, 0, limit=7)) == 7


def test_a_rollback_leaves_no_gap(sessions: SessionFactory, queued: JobRow) -> None:
    with pytest.raises(RuntimeError), transaction(sessions) as session:
        EventRepo(session).append(queued.id, [(EventType.LOG, {})])
        raise RuntimeError
    with transaction(sessions) as session:
        (event,) = EventRepo(session).append(queued.id, [(EventType.LOG, {})])
    assert event.seq == 2
    with pytest.raises(NotFound), transaction(sessions) as session:
        EventRepo(session).append("nobody", [(EventType.LOG, {})])
