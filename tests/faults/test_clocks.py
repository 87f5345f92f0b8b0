"""Hosts with a wrong clock: leases use the database's clock, timeouts the monotonic one."""

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
from tests.support.stack import NUM_EPOCHS_LONG, Stack

pytestmark = [pytest.mark.faults, pytest.mark.services, pytest.mark.slow, pytest.mark.timeout(600)]
SECONDS = 2 * 3600


@pytest.fixture
def wrong_clock(tmp_path: Path) -> tuple[dict[str, str], Callable[[str], None]]:
    """The environment of a process with a wrong clock, and a function that sets its offset, such as `+7200`."""
    library = Path(libfaketime.__file__).parent / "vendor/libfaketime/src/libfaketime.so.1"
    offset_file = tmp_path / "offset"

    def set_offset(offset_s: str) -> None:
        offset_file.with_suffix(".new").write_text(offset_s + "\n")
        offset_file.with_suffix(".new").rename(offset_file)

    environment = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(offset_file),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "CANDELA_CHILD_VARIABLES": "FAKETIME_TIMESTAMP_FILE,FAKETIME_NO_CACHE,FAKETIME_DONT_FAKE_MONOTONIC",
    }
    set_offset(f"+{SECONDS}")
    probe = subprocess.run(
        [sys.executable, "-c", "import time; print(time.time())"], env=os.environ | environment, capture_output=True
    )
    assert float(probe.stdout) > time.time() + SECONDS / 2, "libfaketime does not work here"
    set_offset("+0")
    return environment, set_offset


def check_times(stack: Stack, row: JobRow) -> None:
    """Check that later events have later times, whichever host recorded them."""
    with transaction(stack.sessions, read_only=True) as session:
        transition_times = [event.at for event in EventRepo(session).list_transitions(row.id)]
    assert row.started_at is not None
    assert row.finished_at is not None
    times = [row.created_at, row.started_at, row.finished_at]
    assert times == sorted(times)
    assert transition_times == sorted(transition_times)
    assert (times[-1] - times[0]).total_seconds() < SECONDS / 2


def test_row_25_a_worker_with_a_clock_ahead_takes_no_job(
    postgres_stack: Stack, wrong_clock: tuple[dict[str, str], Callable[[str], None]]
) -> None:
    """It takes no job from the worker with the right clock, and its own events have the right times."""
    stack, (environment, set_offset) = postgres_stack, wrong_clock
    set_offset(f"+{SECONDS}")
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(job_id)
    wrong = stack.start_worker(**environment)
    maintenance = stack.start_maintenance(**environment)
    try:
        row = stack.wait_for_end(job_id)
        assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0)
        check_times(stack, row)
        assert stack.worker is not None
        end(stack.worker)
        row = stack.wait_for_end(stack.submit_job(epochs=2))
        assert (row.state, row.attempt) == (JobState.SUCCEEDED, 1)
        check_times(stack, row)
    finally:
        assert end(wrong) == 0
        end(maintenance)


def test_row_26_a_worker_keeps_its_lease_after_its_clock_jumps_back(
    postgres_stack: Stack, wrong_clock: tuple[dict[str, str], Callable[[str], None]]
) -> None:
    """The lease is renewed further, the job keeps its attempt, and nothing ends before it starts."""
    stack, (environment, set_offset) = postgres_stack, wrong_clock
    assert stack.worker is not None
    end(stack.worker)
    stack.worker = stack.start_worker(**environment)
    job_id = stack.submit_job(epochs=NUM_EPOCHS_LONG)
    stack.wait_for_epoch(job_id)
    set_offset("-3600")
    row = stack.wait_for_end(job_id)
    assert (row.state, row.attempt, row.lost_attempts) == (JobState.SUCCEEDED, 1, 0)
    check_times(stack, row)
    set_offset("+0")
