"""Sweeps whose jobs a test plays, with the controller of maintenance, on a real database and storage."""

import pytest

from core.db.session import SessionFactory
from core.storage import LocalStorage
from tests.support.played_sweeps import PlayedSweep, StartSweep


@pytest.fixture
def start_sweep(sqlite_sessions: SessionFactory, storage: LocalStorage) -> StartSweep:
    """Return a function that stores a sweep with these fields on SQLite."""
    return lambda **fields: PlayedSweep(sqlite_sessions, storage, **fields)


@pytest.fixture
def start_sweep_anywhere(sessions: SessionFactory, storage: LocalStorage) -> StartSweep:
    """Return a function that stores a sweep with these fields on both kinds of databases."""
    return lambda **fields: PlayedSweep(sessions, storage, **fields)
