"""Migrations upgrade and downgrade, and create the declared tables."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url, select, text
from sqlalchemy.exc import IntegrityError

from core.db import schema
from core.db.session import make_engine, make_session_factory
from core.db.tables import METADATA, JobRow
from core.errors import ConfigurationError, DatabaseUnreachable
from tests.support.servers import PostgresServer

INSERT_JOB = (
    "INSERT INTO job (id, kind, name, model_name, spec, dataset_version_id, state, priority, warnings, progress, "
    "metrics, attempt, lost_attempts, token, event_seq, created_at) VALUES ('{id}', 'train', 'x', 'x', '{{}}', "
    "{dataset}, 'queued', 0, '[]', '{{}}', '{{}}', 0, 0, 0, 0, '2026-01-01 00:00:00')"
)


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    """A SQLite database with our tables."""
    return f"sqlite:///{shutil.copy(sqlite_template, tmp_path / 'copy.db')}"


def test_migrations_go_up_and_down_and_up(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    schema.upgrade_schema(empty_database_url)
    assert set(inspect(engine).get_table_names()) >= set(METADATA.tables)
    schema.downgrade_schema(empty_database_url, "base")
    assert inspect(engine).get_table_names() == ["alembic_version"]
    schema.upgrade_schema(empty_database_url)
    schema.upgrade_schema(empty_database_url)
    schema.check_migrations(empty_database_url)
    engine.dispose()


def test_a_database_of_another_version_is_rejected(empty_database_url: str) -> None:
    engine = make_engine(empty_database_url)
    with pytest.raises(ConfigurationError, match="absent"):
        schema.check_schema(engine)
    schema.upgrade_schema(empty_database_url)
    schema.check_schema(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'tomorrow'")
    with pytest.raises(ConfigurationError, match="newer than the schema"):
        schema.check_schema(engine)
    engine.dispose()


def test_migrations_are_found_from_any_folder(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    schema.upgrade_schema(empty_database_url)
    schema.check_migrations(empty_database_url)


@pytest.mark.parametrize("check", [schema.upgrade_schema, lambda url: schema.check_schema(make_engine(url))])
def test_a_newer_database_is_rejected_in_one_line(sqlite_url: str, check: Callable[[str], None]) -> None:
    engine = make_engine(sqlite_url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'tomorrow'")
    engine.dispose()
    with pytest.raises(ConfigurationError, match=r"^[^\n]*tomorrow[^\n]*Upgrade Candela[^\n]*$") as raised:
        check(sqlite_url)
    assert sqlite_url in str(raised.value)


@pytest.mark.parametrize("host", ["127.0.0.1:1", "name.invalid:5432"])
@pytest.mark.parametrize("check", [schema.upgrade_schema, lambda url: schema.check_schema(make_engine(url))])
def test_an_unreachable_server_is_reported_without_the_password(host: str, check: Callable[[str], None]) -> None:
    with pytest.raises(DatabaseUnreachable) as raised:
        check(f"postgresql://candela:hidden@{host}/candela")
    message = str(raised.value)
    assert "hidden" not in message
    assert "\n" not in message
    assert host in message


@pytest.mark.services
def test_a_wrong_password_is_reported_without_it(postgres: PostgresServer) -> None:
    name = postgres.create()
    url = make_url(postgres.url(name)).set(username="nobody", password="hidden")
    with pytest.raises(DatabaseUnreachable) as raised:
        schema.upgrade_schema(url.render_as_string(hide_password=False))
    postgres.drop(name)
    assert "nobody" in str(raised.value)
    assert "hidden" not in str(raised.value)


def test_jobs_keep_their_events_when_their_dataset_becomes_optional(empty_database_url: str) -> None:
    schema.upgrade_schema(empty_database_url)
    schema.downgrade_schema(empty_database_url, "c81f5a07d3e6")
    engine = make_engine(empty_database_url)
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO dataset_version (id, name, version, state, source, source_key, token, attempt, created_at) "
            "VALUES ('d', 'digits', 1, 'ready', '{}', 'd', 0, 0, '2026-01-01 00:00:00')"
        )
        connection.exec_driver_sql(INSERT_JOB.format(id="j", dataset="'d'"))
        connection.exec_driver_sql(
            "INSERT INTO job_event (job_id, seq, type, at, payload) VALUES ('j', 1, 'log', '2026-01-01 00:00:00', '{}')"
        )
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.exec_driver_sql(INSERT_JOB.format(id="k", dataset="NULL"))
    schema.upgrade_schema(empty_database_url)
    schema.check_migrations(empty_database_url)
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM job_event").scalar_one() == 1
        connection.exec_driver_sql(INSERT_JOB.format(id="k", dataset="NULL"))
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.exec_driver_sql(INSERT_JOB.format(id="l", dataset="'absent'"))
    schema.downgrade_schema(empty_database_url, "c81f5a07d3e6")
    with engine.begin() as connection:
        assert connection.exec_driver_sql("SELECT id FROM job").scalars().all() == ["j"]
    engine.dispose()


def test_jobs_of_earlier_versions_get_the_columns_of_the_queue(empty_database_url: str) -> None:
    schema.upgrade_schema(empty_database_url)
    schema.downgrade_schema(empty_database_url, "8e41c7d0b35a")
    engine = make_engine(empty_database_url)
    with engine.begin() as connection:
        for job_id in ("a", "b", "c"):
            connection.exec_driver_sql(INSERT_JOB.format(id=job_id, dataset="NULL"))
        connection.execute(text("UPDATE job SET spec = :spec WHERE id = 'a'"), {"spec": '{"device": "cuda:0"}'})
        spec = {"spec": '{"device": "cpu", "resume_from": {"job": "source", "checkpoint": 2}}'}
        connection.execute(text("UPDATE job SET spec = :spec WHERE id = 'b'"), spec)
        connection.exec_driver_sql("UPDATE job SET state = 'running' WHERE id = 'c'")
        for seq, kind, day in ((1, "state", 2), (2, "state", 3), (3, "log", 4)):
            connection.exec_driver_sql(
                "INSERT INTO job_event (job_id, seq, type, at, payload) "
                f"VALUES ('a', {seq}, '{kind}', '2026-01-0{day} 00:00:00', '{{}}')"
            )
    schema.upgrade_schema(empty_database_url)
    with make_session_factory(engine)() as session:
        rows = session.execute(
            select(JobRow.id, JobRow.requires_gpu, JobRow.resume_from_job_id, JobRow.queued_at).order_by(JobRow.id)
        ).all()
    first, third = (datetime(2026, 1, day, tzinfo=UTC) for day in (1, 3))
    assert rows == [("a", True, None, third), ("b", False, "source", first), ("c", False, None, None)]
    schema.downgrade_schema(empty_database_url, "8e41c7d0b35a")
    engine.dispose()
