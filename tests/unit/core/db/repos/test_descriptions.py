"""Descriptions and version counters are changed by concurrent transactions."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from core.db.registry_tables import VersionCounterRow
from core.db.repos.descriptions import DescriptionRepo, record_deleted_version
from core.db.session import SessionFactory, transaction
from core.jobs import ResourceKind

NUM_THREADS = 4
NAMES = [f"name-{number}" for number in range(10)]


def run_in_parallel(function: Callable[[int], None]) -> None:
    with ThreadPoolExecutor(NUM_THREADS) as pool:
        list(pool.map(function, range(1, NUM_THREADS + 1)))


def test_the_highest_number_of_versions_that_are_deleted_at_the_same_time_is_stored(sessions: SessionFactory) -> None:
    for name in NAMES:

        def record(version: int, name: str = name) -> None:
            with transaction(sessions) as session:
                record_deleted_version(session, ResourceKind.MODEL, name, version)

        run_in_parallel(record)
    with transaction(sessions) as session:
        record_deleted_version(session, ResourceKind.MODEL, NAMES[0], 1)
        counters = session.scalars(select(VersionCounterRow.last_deleted)).all()
    assert counters == [NUM_THREADS] * len(NAMES)


@pytest.mark.parametrize("version", [0, 3])
def test_descriptions_are_set_at_the_same_time(sessions: SessionFactory, version: int) -> None:
    for name in NAMES:

        def change(number: int, name: str = name) -> None:
            changes = {"description": "same"} if number % 2 else {"tags": ["a", "b"]}
            with transaction(sessions) as session:
                DescriptionRepo(session, ResourceKind.MODEL).change(name, version, changes)

        run_in_parallel(change)
    with transaction(sessions) as session:
        found = DescriptionRepo(session, ResourceKind.MODEL).list_descriptions(NAMES)
    assert found == {(name, version): ("same", ["a", "b"]) for name in NAMES}
