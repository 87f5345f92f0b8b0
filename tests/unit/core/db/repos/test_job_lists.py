"""Lists of jobs: pages in every order, filters and search."""

from functools import partial
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, event, inspect, update
from sqlalchemy.orm import Session

from core.db.repos.job_lists import NEWEST_FIRST, JobField, JobFilter, JobListRepo, JobOrder
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_summaries import MetricSummary, MetricSummaryRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import DatasetVersionRow, JobRow
from core.errors import InvalidSpec
from core.jobs import JobState
from tests.support.builders import dataset_version, job
from tests.support.database_work import measure_work, update_planner_statistics
from tests.support.many_jobs import add_jobs

ACCURACY = "valid_accuracy"
ORDERS = [
    *(
        JobOrder(field, is_descending)
        for field in (JobField.CREATED_AT, JobField.NAME, JobField.STATE, JobField.DURATION)
        for is_descending in (True, False)
    ),
    *(
        JobOrder(field, is_descending, ACCURACY)
        for field in (JobField.LAST, JobField.BEST)
        for is_descending in (True, False)
    ),
]
DURATIONS = [3.5, None, 0.25, 3.5, None, 1.0, 7.25]
BESTS = [0.5, 0.75, None, 0.75, 0.1, None, 0.9]


@pytest.fixture
def ids(sessions: SessionFactory) -> list[str]:
    """Seven jobs, some with equal names, without a duration or without a metric."""
    with transaction(sessions) as session:
        version = dataset_version(name="digits", version=2)
        session.add(version)
        session.flush()
        found = []
        for number, (duration_s, best) in enumerate(zip(DURATIONS, BESTS, strict=True)):
            row = JobRepo(session).add(job(version, name=f"job-{number % 3}", kind=("train", "evaluate")[number % 2]))
            state = JobState.SUCCEEDED if duration_s else JobState.QUEUED
            session.execute(update(JobRow).where(JobRow.id == row.id).values(duration_s=duration_s, state=state))
            if number != 5:  # this one has no summary, and number 2 one without a value
                MetricSummaryRepo(session).store(row.id, {ACCURACY: MetricSummary(best, best, 1)})
            found.append(row.id)
        return found


def get_key(row: JobRow, order: JobOrder, bests: dict[str, Any]) -> Any:
    return {
        JobField.CREATED_AT: row.created_at,
        JobField.NAME: row.name,
        JobField.STATE: row.state,
        JobField.DURATION: row.duration_s,
    }.get(order.field, bests.get(row.id))


def list_all(session: Any, order: JobOrder, limit: int) -> list[str]:
    found, cursor = [], None
    for _ in range(20):
        rows, cursor = JobListRepo(session).list_page(order=order, cursor=cursor, limit=limit)
        assert len(rows) <= limit
        found += [row.id for row in rows]
        if cursor is None:
            return found
    raise AssertionError("the pages do not end")


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_pages_have_every_job_once_in_order(sessions: SessionFactory, ids: list[str], order: JobOrder) -> None:
    with transaction(sessions, read_only=True) as session:
        rows = [JobRepo(session).get(job_id) for job_id in ids]
        bests = dict(zip(ids, BESTS, strict=True))
        keys = {row.id: get_key(row, order, bests) for row in rows}
        with_value = sorted((row.id for row in rows if keys[row.id] is not None), key=lambda it: (keys[it], it))
        without = sorted(row.id for row in rows if keys[row.id] is None)
        expected = with_value[::-1] + without[::-1] if order.is_descending else with_value + without
        for limit in (1, 2, 3, 6, 7, 8):
            assert list_all(session, order, limit) == expected, limit


def test_pages_are_stable_while_jobs_are_added_and_deleted(sessions: SessionFactory, ids: list[str]) -> None:
    order = JobOrder(JobField.BEST, True, ACCURACY)
    with transaction(sessions, read_only=True) as session:
        first, cursor = JobListRepo(session).list_page(order=order, limit=2)
        assert "spec" in inspect(first[0]).unloaded
    with transaction(sessions) as session:
        version = session.get_one(DatasetVersionRow, first[0].dataset_version_id)
        for best in (0.99, 0.6):  # before and after the cursor
            row = JobRepo(session).add(job(version, name=f"late-{best}"))
            MetricSummaryRepo(session).store(row.id, {ACCURACY: MetricSummary(best, best, 1)})
        session.execute(delete(JobRow).where(JobRow.id == first[-1].id))
        second, _ = JobListRepo(session).list_page(order=order, cursor=cursor, limit=3)
    bests = dict(zip(ids, BESTS, strict=True))
    assert [bests.get(row.id, row.name) for row in second] == [0.75, "late-0.6", 0.5]


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        (JobFilter(name="job-1"), [1, 4]),
        (JobFilter(kind="evaluate", state=JobState.QUEUED), [1]),
        (JobFilter(model="tiny"), range(7)),
        (JobFilter(model="other"), []),
        (JobFilter(dataset="digits"), range(7)),
        (JobFilter(dataset="digits", dataset_version=2), range(7)),
        (JobFilter(dataset="digits", dataset_version=1), []),
        (JobFilter(dataset="mnist"), []),
        (JobFilter(tags=["baseline"]), [0, 3]),
        (JobFilter(tags=["baseline", "paper/figure=2"]), [3]),
        (JobFilter(tags=["base"]), []),
        (JobFilter(text="JOB-2"), [2, 5]),
        (JobFilter(text="100%"), [0]),
        (JobFilter(text="job_1"), []),
        (JobFilter(text="größer"), [0]),
        (JobFilter(text="nothing"), []),
    ],
)
def test_lists_are_filtered(sessions: SessionFactory, ids: list[str], conditions: JobFilter, expected: Any) -> None:
    with transaction(sessions) as session:
        JobRepo(session).annotate(ids[0], tags=["baseline"], note="Reaches **100%** and is größer.")
        JobRepo(session).annotate(ids[3], tags=["paper/figure=2", "baseline"])
        JobRepo(session).annotate(ids[4], tags=["baseline"])
        assert JobRepo(session).annotate(ids[4], tags=[]).tags == []
        rows, _ = JobListRepo(session).list_page(conditions)
    assert sorted(ids.index(row.id) for row in rows) == list(expected)


def test_the_start_of_an_id_is_found(sessions: SessionFactory, ids: list[str]) -> None:
    with transaction(sessions, read_only=True) as session:
        rows, _ = JobListRepo(session).list_page(JobFilter(text=ids[2][:12].upper()))
    assert [row.id for row in rows] == [ids[2]]


def test_jobs_are_found_by_the_first_digits_of_their_ids(sessions: SessionFactory, ids: list[str]) -> None:
    with transaction(sessions, read_only=True) as session:
        for prefix in {job_id[:length] for job_id in ids for length in (1, 2, 8, 31, 32)} | {"0", "f"}:
            rows, _ = JobListRepo(session).list_page(JobFilter(id_prefix=prefix))
            assert {row.id for row in rows} == {job_id for job_id in ids if job_id.startswith(prefix)}, prefix


def test_a_search_for_an_id_reads_a_range_of_the_primary_key(sqlite_sessions: SessionFactory) -> None:
    with transaction(sqlite_sessions, read_only=True) as session:
        statements: list[tuple[str, Any]] = []
        engine = session.get_bind()

        def record(*arguments: Any) -> None:
            statements.append((arguments[2], arguments[3]))

        event.listen(engine, "before_cursor_execute", record)
        JobListRepo(session).list_page(JobFilter(id_prefix="abc"), limit=5)
        event.remove(engine, "before_cursor_execute", record)
        statement, parameters = statements[0]
        plan = session.connection().exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
        assert "sqlite_autoindex_job_1 (id>? AND id<?)" in str(plan.all())


@pytest.mark.parametrize("cursor", ["x", "%%%", "WzEsMl0", "WyIyMDIwLTAxLTAxIiwgIngiXQ", ""])
@pytest.mark.parametrize("order", [ORDERS[0], ORDERS[2], ORDERS[-1]], ids=str)
def test_an_invalid_cursor_is_rejected(sqlite_sessions: SessionFactory, cursor: str, order: JobOrder) -> None:
    with pytest.raises(InvalidSpec), transaction(sqlite_sessions) as session:
        JobListRepo(session).list_page(order=order, cursor=cursor)


@given(first=st.sampled_from(ORDERS), second=st.sampled_from(ORDERS))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_cursor_of_another_order_is_rejected(
    sqlite_sessions: SessionFactory, first: JobOrder, second: JobOrder
) -> None:
    with transaction(sqlite_sessions) as session:
        if not session.query(JobRow).count():
            version = dataset_version()
            session.add(version)
            session.flush()
            for _ in range(3):
                JobRepo(session).add(job(version))
        _, cursor = JobListRepo(session).list_page(order=first, limit=1)
        if first.field == second.field is JobField.CREATED_AT or first == second:
            return
        with pytest.raises(InvalidSpec):
            JobListRepo(session).list_page(order=second, cursor=cursor)


def test_missing_ids_are_found(sessions: SessionFactory, ids: list[str]) -> None:
    with transaction(sessions, read_only=True) as session:
        assert JobListRepo(session).find_missing_ids([ids[0], "f", ids[1], "0"]) == ["f", "0"]


FILTER_VALUES: dict[str, tuple[Any, ...]] = {
    "state": (JobState.SUCCEEDED, JobState.FAILED, JobState.RUNNING),
    "kind": ("train", "evaluate", "register"),
    "name": ("common", "rare", "absent"),
    "model": ("common", "rare", "absent"),
    "dataset": ("common", "rare", "absent"),
    "tags": (["common"], ["rare"], ["absent"]),
    "id_prefix": ("abcdef", "0" * 32),
}
GROWING_LISTS = {
    f"{field}={value}": JobFilter(**{field: value}) for field, values in FILTER_VALUES.items() for value in values
}


def read_two_pages(conditions: JobFilter, order: JobOrder, session: Session) -> None:
    _, cursor = JobListRepo(session).list_page(conditions, order, limit=5)
    if cursor is not None:
        JobListRepo(session).list_page(conditions, order, cursor=cursor, limit=5)


def test_the_work_of_a_page_does_not_grow_with_the_number_of_jobs(engine: Engine, sessions: SessionFactory) -> None:
    calls = {str(order): partial(read_two_pages, JobFilter(), order) for order in ORDERS}
    calls |= {name: partial(read_two_pages, conditions, NEWEST_FIRST) for name, conditions in GROWING_LISTS.items()}
    work: dict[str, list[int]] = {name: [] for name in calls}
    for numbers in (range(1000), range(1000, 10_000)):
        with transaction(sessions) as session:
            add_jobs(session, numbers)
        update_planner_statistics(engine)
        for name, read in calls.items():
            work[name].append(measure_work(sessions, read))
    # Statements that visit nothing have a work of 0, and small ones are subject to rounding.
    assert {name: (few, many) for name, (few, many) in work.items() if many > 2 * few + 30} == {}
