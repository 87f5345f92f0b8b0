"""Reads and writes many rows of a table with one statement of the driver, which takes a fraction of the ORM's time."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Float, Integer, Row, String, Table
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from core.db.base import Base

# Text and big integers, so that PostgreSQL rejects values that are too large for a column instead of cutting them.
_ARRAY_TYPES: dict[type[TypeEngine[Any]], str] = {
    String: "text",
    BigInteger: "bigint",
    Integer: "bigint",
    Float: "double precision",
}


def upsert_rows(session: Session, row_class: type[Base], key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows, or replace the other columns of the rows with the same key.

    All rows have the same columns in the same order, and different keys. The columns are numbers and texts.
    """
    if not rows:
        return
    table, names = Base.metadata.tables[row_class.__tablename__], tuple(rows[0])
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        arrays = {name: [row[name] for row in rows] for name in names}
        connection.exec_driver_sql(_build_postgres_upsert(table, tuple(key), names), arrays)
    else:
        values = [tuple(row.values()) for row in rows]
        connection.exec_driver_sql(_build_sqlite_upsert(table, tuple(key), names), values)


def select_rows(
    session: Session, row_class: type[Base], names: Sequence[str], job_id: str, keys: Sequence[Mapping[str, Any]]
) -> Sequence[Row[*tuple[Any, ...]]]:
    """Return columns of the rows of a job that have one of these keys. The keys are at least one and different."""
    table, key = Base.metadata.tables[row_class.__tablename__], tuple(keys[0])
    session.flush()
    connection = session.connection()
    if connection.dialect.name == "postgresql":
        arrays: dict[str, Any] = {name: [row[name] for row in keys] for name in key}
        return connection.exec_driver_sql(
            _build_postgres_select(table, tuple(names), key), {**arrays, "job_id": job_id}
        ).all()
    values = tuple(value for row in keys for value in row.values())
    return connection.exec_driver_sql(
        _build_sqlite_select(table, tuple(names), key, len(keys)), (job_id, *values)
    ).all()


@lru_cache
def _build_postgres_select(table: Table, names: tuple[str, ...], key: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%({name})s::{_get_array_type(table, name)}[]" for name in key)
    keys = f"unnest({arrays}) AS keys ({_quote(key)}) USING ({_quote(key)})"
    return f"SELECT {_quote(names)} FROM {_quote([table.name])} JOIN {keys} WHERE job_id = %(job_id)s"  # noqa: S608 - the names are those of our tables # nosec B608


@lru_cache
def _build_sqlite_select(table: Table, names: tuple[str, ...], key: tuple[str, ...], num_keys: int) -> str:
    places = ", ".join([f"({', '.join('?' * len(key))})"] * num_keys)
    where = f"job_id = ? AND ({_quote(key)}) IN (VALUES {places})"
    return f"SELECT {_quote(names)} FROM {_quote([table.name])} WHERE {where}"  # noqa: S608 - the names are those of our tables # nosec B608


@lru_cache
def _build_postgres_upsert(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    """Return a statement that gets an array per column: one round trip, however many rows there are."""
    arrays = ", ".join(f"%({name})s::{_get_array_type(table, name)}[]" for name in names)
    insert, conflict = _format_insert(table, names), _build_conflict_clause(key, names)
    return f"{insert} SELECT * FROM unnest({arrays}) {conflict}"  # noqa: S608 - the names are those of our tables # nosec B608


@lru_cache
def _build_sqlite_upsert(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    places = ", ".join("?" * len(names))
    return f"{_format_insert(table, names)} VALUES ({places}) {_build_conflict_clause(key, names)}"


def _format_insert(table: Table, names: Sequence[str]) -> str:
    return f"INSERT INTO {_quote([table.name])} ({_quote(names)})"


def _build_conflict_clause(key: Sequence[str], names: Sequence[str]) -> str:
    changes = ", ".join(f'"{name}" = excluded."{name}"' for name in names if name not in key)
    return f"ON CONFLICT ({_quote(key)}) DO UPDATE SET {changes}"  # the names are those of our tables # nosec B608


def _quote(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _get_array_type(table: Table, name: str) -> str:
    column_type = table.columns[name].type
    return next(text for kind, text in _ARRAY_TYPES.items() if isinstance(column_type, kind))
