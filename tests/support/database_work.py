"""Measures the work of statements in a database, which, unlike their duration, does not depend on the machine."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session

from core.db.session import SessionFactory

_OPCODES_PER_CALL = 10
Statement = tuple[str, Any]


@contextmanager
def record_statements(engine: Engine) -> Iterator[list[Statement]]:
    """Record the statements and their parameters that are executed in the context."""
    statements: list[Statement] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", record)


def list_queries(sessions: SessionFactory, read: Callable[[Session], object]) -> list[Statement]:
    """Return the statements of a transaction, which is rolled back."""
    with sessions() as session, record_statements(session.get_bind().engine) as statements:
        read(session)
    return [statement for statement in statements if not statement[0].startswith("BEGIN")]


def measure_work(sessions: SessionFactory, read: Callable[[Session], object]) -> int:
    """Return the work of a transaction, which is rolled back.

    On PostgreSQL, this is the number of rows that its scans visited, whether or not they passed a filter, and of rows
    that it sorted. On SQLite, it is the number of instructions of the virtual machine.
    """
    return measure_statements(sessions, list_queries(sessions, read))


def measure_statements(sessions: SessionFactory, statements: Sequence[Statement]) -> int:
    """Return the work of statements as `measure_work` does. They are executed again, and rolled back."""
    with sessions() as session:
        connection = session.connection()
        if connection.dialect.name == "postgresql":
            return sum(
                _count_rows(connection.exec_driver_sql(_EXPLAIN + sql, values).scalar_one())
                for sql, values in statements
            )
        driver = connection.connection.driver_connection
        assert driver is not None
        num_calls = 0

        def count() -> None:
            nonlocal num_calls
            num_calls += 1

        driver.set_progress_handler(count, _OPCODES_PER_CALL)
        try:
            for sql, values in statements:
                result = connection.exec_driver_sql(sql, values)
                if result.returns_rows:
                    result.all()
        finally:
            driver.set_progress_handler(None, 0)
        return _OPCODES_PER_CALL * num_calls


def update_planner_statistics(engine: Engine) -> None:
    """Give the planner of PostgreSQL current statistics, as autovacuum does. SQLite plans without."""
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")


_EXPLAIN = "EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) "


def _count_rows(plan: Any) -> int:
    node, total = plan[0]["Plan"], 0
    nodes = [node]
    while nodes:
        node = nodes.pop()
        nodes += node.get("Plans", [])
        if "Scan" in node["Node Type"] or node["Node Type"] == "Sort":
            removed = sum(node.get(f"Rows Removed by {why}", 0) for why in ("Filter", "Index Recheck"))
            visited = (
                node["Actual Rows"]
                if node["Node Type"] != "Sort"
                else sum(child["Actual Rows"] for child in node["Plans"])
            )
            total += (visited + removed) * node["Actual Loops"]
    return round(total)
