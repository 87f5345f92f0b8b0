"""Measures how the cost of the calls of the queue grows with the number of jobs, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.growth [--sizes 1000 10000] [--rounds 7] [--claim-s 6]

Each size has its own database with as many queued and as many finished jobs. The rounds of all sizes take turns, and
the ratio is that of the least times. Then worker processes claim jobs from the PostgreSQL database of the largest size.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy.orm import Session

from core.db.repos.attempts import AttemptRepo
from core.db.repos.checkpoints import CheckpointRepo
from core.db.repos.job_queue import JobQueueRepo
from core.db.repos.models import ModelRepo
from core.db.repos.outbox import OutboxRepo
from core.db.repos.placement import WorkerCapacity
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from tests.support.database_work import update_planner_statistics
from tests.support.full_queue import fill_queue
from tests.support.servers import postgres_server

CPU = WorkerCapacity.from_devices(["cpu"], 1)
GPU = WorkerCapacity.from_devices(["cpu", "cuda:0"], 1)
Call = Callable[[Session, str], object]


CALLS: dict[str, Call] = {
    "the next job of a CPU worker": lambda session, _: JobQueueRepo(session).find_next_id(CPU),
    "the next job of a GPU worker": lambda session, _: JobQueueRepo(session).find_next_id(GPU),
    "claim the next job": lambda session, _: claim_next(session, "worker"),
    "jobs that can be validated": lambda session, _: JobQueueRepo(session).find_resolvable_ids(),
    "lost messages, CPU": lambda session, _: JobQueueRepo(session).find_ids_without_message(10, 10, gpu=False),
    "lost messages, GPU": lambda session, _: JobQueueRepo(session).find_ids_without_message(10, 10, gpu=True),
    "lost jobs": lambda session, _: AttemptRepo(session).find_expired_ids(),
    "missing message of a job": lambda session, job_id: OutboxRepo(session).add_missing("train", job_id),
    "jobs that start from a job": lambda session, job_id: CheckpointRepo(session).find_dependents(job_id),
    "use of a checkpoint key": lambda session, _: CheckpointRepo(session).filter_keys(["jobs/x/t1/checkpoints/1"]),
    "use of a model key": lambda session, _: ModelRepo(session).filter_keys(["jobs/x/t1/bundle"]),
}


class Database(NamedTuple):
    sessions: SessionFactory
    job_id: str


def claim_next(session: Session, owner: str) -> object:
    return AttemptRepo(session).claim_next(owner, 60.0, CPU)


def fill(url: str, num_jobs: int) -> Database:
    upgrade_schema(url)
    engine = make_engine(url)
    sessions = make_session_factory(engine)
    finished = fill_queue(sessions, num_jobs, num_finished=num_jobs)
    update_planner_statistics(engine)
    return Database(sessions, finished[0])


def measure(database: Database, call: Call) -> float:
    """Return the time of a call in ms. What it writes is rolled back.

    SQLite runs in this process, so that its CPU time can be measured, which does not depend on other processes.
    """
    with database.sessions() as session:  # without a commit
        is_sqlite = session.connection().dialect.name == "sqlite"
        read_clock = time.process_time if is_sqlite else time.perf_counter
        started_at = read_clock()
        call(session, database.job_id)
        return 1e3 * (read_clock() - started_at)


def compare(name: str, urls: dict[int, str], rounds: int) -> None:
    """Print the least time of every call at each size, and the ratio of the largest and the smallest size."""
    databases = {size: fill(url, size) for size, url in urls.items()}
    for title, call in CALLS.items():
        taken = {size: [measure(database, call) for _ in range(2)][1:] for size, database in databases.items()}
        for _ in range(rounds):
            for size, database in databases.items():
                taken[size].append(measure(database, call))
        least = [min(times) for times in taken.values()]
        values = " | ".join(f"{ms:.2f}" for ms in least)
        sys.stdout.write(f"| {name} | {title} | {values} | {least[-1] / least[0]:.2f} |\n")
        sys.stdout.flush()


def claim_for(url: str, seconds: float, start: Barrier, results: "multiprocessing.Queue[tuple[int, int]]") -> None:
    """Claim jobs for a time, and put the number of claims and of lost races into `results`."""
    sessions = make_session_factory(make_engine(url))
    num_claimed = num_lost = 0
    start.wait()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with transaction(sessions) as session:
            is_claimed = claim_next(session, "worker") is not None
        num_claimed, num_lost = num_claimed + is_claimed, num_lost + (not is_claimed)
    results.put((num_claimed, num_lost))


def claim_together(url: str, num_workers: int, seconds: float) -> None:
    """Print how many jobs several processes claim per second."""
    context = multiprocessing.get_context("spawn")
    results: multiprocessing.Queue[tuple[int, int]] = context.Queue()
    start = context.Barrier(num_workers)
    workers = [context.Process(target=claim_for, args=(url, seconds, start, results)) for _ in range(num_workers)]
    for worker in workers:
        worker.start()
    counts = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    claimed, lost = (sum(column) for column in zip(*counts, strict=True))
    sys.stdout.write(f"| {num_workers} | {claimed / seconds:.1f} | {lost / max(claimed, 1):.2f} |\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1000, 10_000])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--claim-s", type=float, default=6.0)
    parser.add_argument("--claim-rounds", type=int, default=3)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    columns = " | ".join(f"ms at {size:,}" for size in options.sizes)
    sys.stdout.write(f"| database | call | {columns} | ratio |\n|---|---|{'--:|' * (len(options.sizes) + 1)}\n")
    if "sqlite" in options.databases:
        with tempfile.TemporaryDirectory() as folder:
            compare("sqlite", {size: f"sqlite:///{folder}/{size}.db" for size in options.sizes}, options.rounds)
    if "postgresql" in options.databases:
        with postgres_server() as server:
            urls = {size: server.url(server.create()) for size in options.sizes}
            compare("postgresql", urls, options.rounds)
            sys.stdout.write("\n| workers | claims per second | lost races per claim |\n|--:|--:|--:|\n")
            for num_workers in (1, 8, 24) * options.claim_rounds:
                claim_together(urls[options.sizes[-1]], num_workers, options.claim_s)


if __name__ == "__main__":
    main()
