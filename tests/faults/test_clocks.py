"""Hosts that are wrong about the time: leases are measured by the database's clock, patience by the monotonic one."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import libfaketime
import pytest

from core.db.repos.events import EventRepo
from core.db.session import transaction
from core.db.tables import JobRow
from core.jobs import JobState
from tests.support.processes import end
from tests.support.stack import LONG, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
SECONDS = 2 * 3600


@pytest.fixture
def wrong_clock(tmp_path: Path) -> tuple[dict[str, str], Callable[[str], None]]:
    """The environment of a process whose time of day is wrong, and how to set it: `+7200` is two hours ahead."""
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    dial = tmp_path / "dial"

    def turn(offset_s: str) -> None:
        dial.with_suffix(".new").write_text(offset_s + "\n")
        dial.with_suffix(".new").rename(dial)

    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(dial),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    turn(f"+{SECONDS}")
    told = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=os.environ | environment, capture_output=True
    )
    assert float(told.stdout) > time.time() + SECONDS / 2, "this clock cannot be set"
    turn("+0")
    return environment, turn


def times_are_sane(stack: Stack, row: JobRow) -> None:
    """What happened later was dated later, whoever told it."""
    with transaction(stack.sessions, read_only=True) as session:
        moves = [event.at for event in EventRepo(session).transitions(row.id)]
    assert row.started_at is not None
    assert row.finished_at is not None
    dated = [row.created_at, row.started_at, row.finished_at]
    assert dated == sorted(dated)
    assert moves == sorted(moves)
    assert (dated[-1] - dated[0]).total_seconds() < SECONDS / 2


def test_row_25_the_clock_of_one_worker_is_two_hours_ahead(
    postgres_stack: Stack, wrong_clock: tuple[dict[str, str], Callable[[str], None]]
) -> None:
    """It steals nothing from the worker that is right, and what it does itself is dated as others would."""
    stack, (environment, turn) = postgres_stack, wrong_clock
    turn(f"+{SECONDS}")
    job_id = stack.post(epochs=LONG)
    stack.under_way(job_id)
    wrong = stack.start_worker(**environment)
    wrong_sweep = stack.start_sweep(**environment)
    try:
        row = stack.finished(job_id)
        assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0)
        times_are_sane(stack, row)
        assert stack.worker is not None
        end(stack.worker)
        row = stack.finished(stack.post(epochs=2))
        assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1)
        times_are_sane(stack, row)
    finally:
        assert end(wrong) == 0
        end(wrong_sweep)


def test_row_26_the_clock_of_a_worker_jumps_back(
    postgres_stack: Stack, wrong_clock: tuple[dict[str, str], Callable[[str], None]]
) -> None:
    """The lease goes on being renewed, nothing is taken away, and nothing ends before it began."""
    stack, (environment, turn) = postgres_stack, wrong_clock
    assert stack.worker is not None
    end(stack.worker)
    stack.worker = stack.start_worker(**environment)
    job_id = stack.post(epochs=LONG)
    stack.under_way(job_id)
    turn("-3600")
    row = stack.finished(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0)
    times_are_sane(stack, row)
    turn("+0")
