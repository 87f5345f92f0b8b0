"""The events of jobs get consecutive numbers, and superseded ones are deleted."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine, update

from core.db.clock import utc_now
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobEventRow, JobRow
from core.errors import NotFound
from core.events import EventType
from tests.support.builders import dataset_version, job
from tests.support.database_work import measure_statements, record_statements, update_planner_statistics


def test_concurrent_events_get_consecutive_numbers(sessions: SessionFactory, queued: JobRow) -> None:
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


def append_all(sessions: SessionFactory, job_id: str, *types: EventType) -> None:
    for type_ in types:
        with transaction(sessions) as session:
            EventRepo(session).append(job_id, [(type_, {"epoch": 1})])


def list_stored(sessions: SessionFactory, job_id: str, after: int = 1) -> list[tuple[int, EventType]]:
    with transaction(sessions, read_only=True) as session:
        return [(event.seq, event.type) for event in EventRepo(session).list_after(job_id, after)]


@pytest.mark.parametrize("last", [EventType.EPOCH, EventType.END])
def test_an_epoch_and_the_end_supersede_the_progress_before_them(
    sessions: SessionFactory, queued: JobRow, last: EventType
) -> None:
    progress, epoch, line = EventType.PROGRESS, EventType.EPOCH, EventType.LOG
    append_all(sessions, queued.id, progress, line, progress)
    assert list_stored(sessions, queued.id) == [(2, progress), (3, line), (4, progress)]
    append_all(sessions, queued.id, epoch, progress, line, progress, last)
    assert list_stored(sessions, queued.id) == [(3, line), (5, epoch), (7, line), (9, last)]
    append_all(sessions, queued.id, progress)
    assert list_stored(sessions, queued.id, after=4)[-2:] == [(9, last), (10, progress)]


def test_the_deletion_of_progress_visits_the_last_epoch_only(engine: Engine, sessions: SessionFactory) -> None:
    work = []
    for num_epochs in (500, 5000):
        with transaction(sessions) as session:
            session.add(version := dataset_version())
            session.flush()
            job_id = JobRepo(session).add(job(version)).id
            rows = [
                JobEventRow(job_id=job_id, seq=seq, type=EventType.EPOCH, at=utc_now(), payload={})
                for seq in range(2, num_epochs)
            ]
            session.add_all(rows)
            session.execute(update(JobRow).where(JobRow.id == job_id).values(event_seq=num_epochs))
        update_planner_statistics(engine)
        with transaction(sessions) as session, record_statements(engine) as statements:
            EventRepo(session).append(job_id, [(EventType.EPOCH, {})])
        deletions = [statement for statement in statements if statement[0].startswith("DELETE")]
        assert len(deletions) == 1
        work.append(measure_statements(sessions, deletions))
    assert work[1] <= 2 * work[0] + 20
