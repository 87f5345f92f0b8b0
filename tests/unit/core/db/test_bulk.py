"""Rows that are read and written in bulk, on both databases."""

from typing import Any

import pytest
from sqlalchemy.exc import DataError, IntegrityError

from core.db.bulk import select_rows, upsert_rows
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow, MetricPointRow

KEY = ("job_id", "split", "name", "step")
NAMES = ("split", "name", "step", "epoch", "value", "special", "elapsed_ms")


def build_row(job_id: str, step: int, **changes: Any) -> dict[str, Any]:
    row = {"job_id": job_id, "split": "train", "name": 'a "b" %s', "step": step}
    return {**row, "epoch": 1, "value": 0.5, "special": None, "elapsed_ms": None, **changes}


def select_steps(sessions: SessionFactory, job_id: str, steps: list[int]) -> list[tuple[Any, ...]]:
    with transaction(sessions, read_only=True) as session:
        keys = [{"split": "train", "name": 'a "b" %s', "step": step} for step in steps]
        return sorted(map(tuple, select_rows(session, MetricPointRow, NAMES, job_id, keys)))


def test_rows_are_inserted_and_replaced(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        upsert_rows(session, MetricPointRow, KEY, [build_row(queued.id, step) for step in (1, 2)])
        later = [
            build_row(queued.id, 2, value=None, special="NaN", elapsed_ms=2**40),
            build_row(queued.id, 2**40, value=-1e300),
        ]
        upsert_rows(session, MetricPointRow, KEY, later)
        upsert_rows(session, MetricPointRow, KEY, [])
    name = 'a "b" %s'
    assert select_steps(sessions, queued.id, [1, 2, 3, 2**40]) == [
        ("train", name, 1, 1, 0.5, None, None),
        ("train", name, 2, 1, None, "NaN", 2**40),
        ("train", name, 2**40, 1, -1e300, None, None),
    ]
    assert select_steps(sessions, "other", [1, 2]) == []


def test_a_column_without_values_is_null(sessions: SessionFactory, queued: JobRow) -> None:
    with transaction(sessions) as session:
        upsert_rows(session, MetricPointRow, KEY, [build_row(queued.id, step, value=None) for step in (1, 2)])
    assert [row[4] for row in select_steps(sessions, queued.id, [1, 2])] == [None, None]


def test_rows_without_a_job_are_rejected(sessions: SessionFactory) -> None:
    with pytest.raises(IntegrityError), transaction(sessions) as session:
        upsert_rows(session, MetricPointRow, KEY, [build_row("missing", 1)])


def test_values_are_not_cut(sessions: SessionFactory, queued: JobRow) -> None:
    if sessions.kw["bind"].dialect.name == "sqlite":
        pytest.skip("SQLite stores texts of any length")
    with pytest.raises(DataError), transaction(sessions) as session:
        upsert_rows(session, MetricPointRow, KEY, [build_row(queued.id, 1, special="x" * 10)])
