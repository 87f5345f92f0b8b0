"""Migrations upgrade and downgrade, and create the declared tables."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect, make_url

from core.db import schema
from core.db.session import make_engine
from core.db.tables import METADATA
from core.errors import ConfigurationError, DatabaseUnreachable
from tests.support.servers import PostgresServer


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
