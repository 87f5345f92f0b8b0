"""Damage of a SQLite file that is found before and while the service runs."""

import logging
import os
import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DatabaseError
from structlog.testing import capture_logs

from core.db import schema
from core.db.damage import check_database_file, is_database_damaged
from core.db.session import make_engine, make_session_factory, transaction
from core.errors import ConfigurationError, DatabaseUnreachable
from tests.support.damage import DAMAGES, Damage, overwrite_tables


@pytest.fixture
def file(sqlite_template: Path, tmp_path: Path) -> Path:
    """A database file with our tables, fully written."""
    return Path(shutil.copy(sqlite_template, tmp_path / "candela.db"))


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_migration_explains_the_damage_in_one_line(file: Path, damage: Damage) -> None:
    damage(file)
    with pytest.raises(ConfigurationError) as raised:
        schema.upgrade_schema(f"sqlite:///{file}")
    message = str(raised.value)
    assert str(file) in message
    assert "\n" not in message
    assert "backup" in message or "owner and mode" in message


@pytest.mark.parametrize("damage", ["not a database", "the first page is overwritten", "truncated to half", "a folder"])
def test_a_check_of_the_schema_explains_the_damage(file: Path, damage: str) -> None:
    DAMAGES[damage](file)
    engine = make_engine(f"sqlite:///{file}")
    with pytest.raises(ConfigurationError) as raised:
        schema.check_schema(engine)
    engine.dispose()
    assert str(file) in str(raised.value)
    assert not isinstance(raised.value, DatabaseUnreachable)


def test_a_damaged_write_ahead_log_is_recovered_or_explained(file: Path) -> None:
    Path(f"{file}-wal").write_bytes(os.urandom(8192))
    schema.upgrade_schema(f"sqlite:///{file}")
    assert sqlite3.connect(file).execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.skipif(os.getuid() == 0, reason="root can read every file")
@pytest.mark.parametrize("mode", [0o000, 0o400])
def test_a_file_of_another_user_is_explained(file: Path, mode: int) -> None:
    file.chmod(mode)
    with pytest.raises(ConfigurationError, match="needs read and write access"):
        check_database_file(file)


def test_a_missing_file_is_valid_and_a_missing_folder_is_not(tmp_path: Path) -> None:
    check_database_file(tmp_path / "candela.db")
    with pytest.raises(DatabaseUnreachable, match="is not a folder"):
        check_database_file(tmp_path / "missing" / "candela.db")


@pytest.mark.parametrize("is_empty", [True, False], ids=["empty", "missing"])
def test_a_lost_database_of_stored_files_is_not_replaced_by_a_new_one(tmp_path: Path, is_empty: bool) -> None:
    """Maintenance would delete all stored files, because the new database has no rows for them."""
    (tmp_path / "store" / "models" / "digits").mkdir(parents=True)
    check_database_file(tmp_path / "candela.db")
    (tmp_path / "store" / "models" / "digits" / "weights").write_text("x")
    if is_empty:
        (tmp_path / "candela.db").touch()
    with pytest.raises(ConfigurationError, match=r"store has files.*backup"):
        schema.upgrade_schema(f"sqlite:///{tmp_path / 'candela.db'}")


def test_damage_found_by_a_query_is_logged_once_with_the_file(file: Path) -> None:
    engine = make_engine(f"sqlite:///{file}")
    sessions = make_session_factory(engine)
    overwrite_tables(file)
    with capture_logs() as lines:
        for _ in range(3):
            with pytest.raises(DatabaseError) as raised, transaction(sessions, read_only=True) as session:
                session.execute(text("SELECT * FROM job JOIN model_version"))
            assert is_database_damaged(raised.value)
    engine.dispose()
    damaged = [line for line in lines if line["event"] == "database.damaged"]
    assert len(damaged) == 1
    assert str(file) in damaged[0]["hint"]
    assert logging.getLevelName(logging.ERROR).lower() == damaged[0]["log_level"]
