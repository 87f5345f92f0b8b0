"""No code waits for a storage, a queue or another process while it holds a write transaction.

A fixture of `tests/conftest.py` watches the code of all tests; these tests show that it notices such calls.
"""

import subprocess
import sys

import pytest
from sqlalchemy import text

from core.db.session import SessionFactory, transaction
from core.storage import LocalStorage
from tests.support.write_locks import WriteLockHeld


def test_storage_and_processes_are_refused_in_a_write_transaction(
    sessions: SessionFactory, storage: LocalStorage
) -> None:
    with transaction(sessions) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(WriteLockHeld, match=r"LocalStorage\.delete"):
            storage.delete("a")
        with pytest.raises(WriteLockHeld, match="Popen"):
            subprocess.run([sys.executable, "-c", ""], check=True)
    storage.delete("a")


def test_reads_and_transactions_without_a_statement_hold_no_lock(
    sessions: SessionFactory, storage: LocalStorage
) -> None:
    with transaction(sessions):
        storage.delete("a")
    with transaction(sessions, read_only=True) as session:
        session.execute(text("SELECT 1"))
        storage.delete("a")


def test_savepoint_that_ends_does_not_release_the_lock(sessions: SessionFactory, storage: LocalStorage) -> None:
    with transaction(sessions) as session:
        with session.begin_nested():
            session.execute(text("SELECT 1"))
        with pytest.raises(WriteLockHeld):
            storage.delete("a")
