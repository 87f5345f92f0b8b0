"""Finds the highest loads of the service with simulated workers: real claims, leases, flushes and files, but no torch.

    .venv/bin/python -m benchmarks.fleet [--seconds 75] [--running 50 100 200 400] [--rates 1 2 4 8 16]

Part 1 raises the number of running jobs, part 2 the number of jobs submitted per second. A load is passed if no attempt
was lost and, in part 2, jobs were claimed in under a second (99th percentile). A lost lease is seen after its 30 s, so
each load has to be measured for longer. All components share the cores of this machine; the
CPU time of each is what a larger deployment has to divide.
"""

import argparse
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, func, select, update

from benchmarks.fleet.components import Fleet, run_fleet
from benchmarks.fleet.simulated_trainer import Training
from core.db.queue_tables import OutboxRow, WorkerRow
from core.db.session import transaction
from core.db.tables import JobRow, MetricPointRow
from core.jobs import TERMINAL, JobState
from tests.support.processes import wait_for

LONG = Training(job_s=3600, epoch_s=10)
SHORT = Training(job_s=2, epoch_s=1)
MAX_CLAIM_S = 1.0
SUBMITTERS = 16
COMPONENTS = ("PostgreSQL", "Valkey", "API", "maintenance", "workers")


class Measurement(NamedTuple):
    """What was measured at one load.

    Attributes:
        claim_s: the 99th percentile of the seconds from the submission of a job to its claim. None in part 1, whose
            jobs are claimed before the measurement.
        num_lost: attempts that were lost, and jobs that failed, during the measurement.
        cores: CPU seconds per second of each component.
    """

    running: float
    jobs_per_s: float
    points_per_s: float
    claim_s: float | None
    num_lost: int
    cores: dict[str, float]

    @property
    def is_passed(self) -> bool:
        """Return whether no lease was lost and jobs were claimed in time."""
        return self.num_lost == 0 and (self.claim_s is None or self.claim_s < MAX_CLAIM_S)

    def format(self, load: object) -> str:
        """Return a row of the table."""
        cores = " | ".join(f"{self.cores[name]:.2f}" for name in COMPONENTS)
        claim = "-" if self.claim_s is None else f"{self.claim_s:.2f}"
        figures = f"{self.running:.0f} | {self.jobs_per_s:.1f} | {self.points_per_s:.0f} | {claim}"
        return f"| {load} | {figures} | {self.num_lost} | {cores} | {'yes' if self.is_passed else 'no'} |"


class Submitter:
    """Submits jobs over HTTP, at a rate or at once."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._number = 0

    def submit_all(self, count: int) -> None:
        """Submit jobs as fast as the API accepts them."""
        with ThreadPoolExecutor(SUBMITTERS) as threads:
            list(threads.map(lambda _: self._submit(), range(count)))

    def submit_at_rate(self, per_s: float, seconds: float) -> None:
        """Submit jobs at a constant rate, whether or not the API keeps up."""
        with ThreadPoolExecutor(SUBMITTERS) as threads:
            start = time.monotonic()
            for number in range(round(per_s * seconds)):
                time.sleep(max(0.0, start + number / per_s - time.monotonic()))
                threads.submit(self._submit)

    def _submit(self) -> None:
        self._fleet.submit_job(epochs=10)


def measure(fleet: Fleet, seconds: float, load: threading.Thread | None = None) -> Measurement:
    """Measure for some seconds, while a thread submits jobs, if there is one."""
    since = datetime.now(UTC)
    lost_before = _count_lost(fleet)
    points_before, points_at = _count_points(fleet), time.monotonic()
    before, start = fleet.read_cpu_s(), time.monotonic()
    if load is not None:
        load.start()
    running = []
    while time.monotonic() - start < seconds:
        time.sleep(1)
        running.append(_count_jobs(fleet, JobRow.state == JobState.RUNNING))
    after, elapsed = fleet.read_cpu_s(), time.monotonic() - start
    points_per_s = (_count_points(fleet) - points_before) / (time.monotonic() - points_at)
    if load is not None:
        load.join()
    finished = _count_jobs(fleet, JobRow.finished_at >= since, JobRow.state == JobState.SUCCEEDED)
    cores = {name: (after[name] - before[name]) / elapsed for name in COMPONENTS}
    lost = _count_lost(fleet) - lost_before
    claim_s = None if load is None else _read_claim_s(fleet, since)
    mean = sum(running) / len(running)
    return Measurement(mean, finished / elapsed, points_per_s, claim_s, lost, cores)


def _count_jobs(fleet: Fleet, *conditions: ColumnElement[bool]) -> int:
    with transaction(fleet.sessions, read_only=True) as session:
        return session.scalar(select(func.count()).select_from(JobRow).where(*conditions)) or 0


def _count_lost(fleet: Fleet) -> int:
    with transaction(fleet.sessions, read_only=True) as session:
        lost_attempts = session.scalar(select(func.sum(JobRow.lost_attempts))) or 0
    return int(lost_attempts) + _count_jobs(fleet, JobRow.state == JobState.FAILED)


def _count_points(fleet: Fleet) -> int:
    with transaction(fleet.sessions, read_only=True) as session:
        return session.scalar(select(func.count()).select_from(MetricPointRow)) or 0


def _read_claim_s(fleet: Fleet, since: datetime) -> float:
    """Return the 99th percentile of the time from submission to claim. A job that still waits counts with its age."""
    until = datetime.now(UTC)
    with transaction(fleet.sessions, read_only=True) as session:
        rows = session.execute(select(JobRow.created_at, JobRow.started_at).where(JobRow.created_at >= since)).all()
    waits = sorted(((started or until) - created) / timedelta(seconds=1) for created, started in rows)
    return waits[int(0.99 * (len(waits) - 1))] if waits else float("inf")


def _clear(fleet: Fleet) -> None:
    """Delete the workers, and cancel the jobs, of the previous load."""
    with transaction(fleet.sessions) as session:
        session.execute(delete(WorkerRow))
        session.execute(delete(OutboxRow))
        session.execute(
            update(JobRow).where(JobRow.state.not_in(TERMINAL)).values(state=JobState.CANCELLED, attempt=1, owner=None)
        )


def measure_running(fleet: Fleet, count: int, seconds: float) -> Measurement:
    """Measure a number of running jobs."""
    with fleet.run_workers(count, LONG):
        Submitter(fleet).submit_all(count)
        wait_for(lambda: _count_jobs(fleet, JobRow.state == JobState.RUNNING) == count, "the jobs", 240)
        return measure(fleet, seconds)


def measure_rate(fleet: Fleet, rate: float, seconds: float) -> Measurement:
    """Measure a rate of submissions, with twice the workers that it needs. Before, each worker has run a job."""
    num_workers = max(4, round(2 * rate * SHORT.job_s))
    with fleet.run_workers(num_workers, SHORT):
        Submitter(fleet).submit_all(num_workers)
        wait_for(lambda: not _count_jobs(fleet, JobRow.state.not_in(TERMINAL)), "the first jobs", 120)
        load = threading.Thread(target=Submitter(fleet).submit_at_rate, args=(rate, seconds))
        return measure(fleet, seconds, load)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=75.0)
    parser.add_argument("--running", type=int, nargs="*", default=[50, 100, 200, 400])
    parser.add_argument("--rates", type=float, nargs="*", default=[1, 2, 4, 8, 16])
    options = parser.parse_args()
    header = " | ".join(f"cores {name}" for name in COMPONENTS)
    with tempfile.TemporaryDirectory() as folder, run_fleet(Path(folder) / "home") as fleet:
        for title, loads, run in (
            ("running jobs", options.running, measure_running),
            ("jobs/s submitted", options.rates, measure_rate),
        ):
            print(f"| {title} | running | jobs/s | points/s | claim p99, s | lost | {header} | passed |")
            print("|--:" * 11 + "|---|", flush=True)
            for load in loads:
                measured = run(fleet, load, options.seconds)
                print(measured.format(load), flush=True)
                _clear(fleet)
                if not measured.is_passed:
                    break


if __name__ == "__main__":
    main()
