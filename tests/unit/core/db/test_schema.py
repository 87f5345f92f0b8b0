"""Migrations upgrade and downgrade, and create the declared tables."""

import pytest
from sqlalchemy import inspect

from core.db import schema
from core.db.session import make_engine
from core.db.tables import METADATA
from core.errors import ConfigurationError


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
