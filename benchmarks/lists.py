"""Measures how the cost of lists of jobs and models grows, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.lists [--jobs 1000 10000 100000] [--rounds 5]

`work` is the number of rows that the scans of PostgreSQL visited, or of instructions of SQLite's virtual machine. The
times are the least ones of a page of 50 items. One job in 97 has the rare values. Each of ten models has a tenth as
many versions as there are jobs.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy import text
from sqlalchemy.orm import Session

from core.db.repos.job_lists import NEWEST_FIRST, JobField, JobFilter, JobListRepo, JobOrder
from core.db.repos.model_lists import ModelListRepo
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.jobs import JobState
from tests.support.database_work import list_queries, measure_work, update_planner_statistics
from tests.support.many_jobs import add_jobs, add_versions
from tests.support.servers import postgres_server

Read = Callable[[Session], object]
FILTERS = {
    "all": JobFilter(),
    "state, common": JobFilter(state=JobState.SUCCEEDED),
    "state, rare": JobFilter(state=JobState.FAILED),
    "state, none": JobFilter(state=JobState.RUNNING),
    "kind, rare": JobFilter(kind="evaluate"),
    "kind, none": JobFilter(kind="register"),
    "name, common": JobFilter(name="common"),
    "name, rare": JobFilter(name="rare"),
    "model, common": JobFilter(model="common"),
    "dataset, common": JobFilter(dataset="common"),
    "dataset, rare": JobFilter(dataset="rare"),
    "tag, rare": JobFilter(tags=["rare"]),
    "tag, none": JobFilter(tags=["none"]),
}


def list_jobs(conditions: JobFilter, order: JobOrder, session: Session) -> None:
    JobListRepo(session).list_page(conditions, order)


def build_calls() -> dict[str, Read]:
    calls: dict[str, Read] = {f"jobs: {name}": partial(list_jobs, it, NEWEST_FIRST) for name, it in FILTERS.items()}
    calls["jobs: by a metric"] = partial(list_jobs, JobFilter(), JobOrder(JobField.BEST, True, "valid_accuracy"))
    calls["models: a page"] = lambda session: ModelListRepo(session).list_models()
    calls["models: one"] = lambda session: ModelListRepo(session).find_model("m5")
    return calls


def measure_ms(sessions: SessionFactory, read: Read, rounds: int) -> float:
    taken = []
    for _ in range(rounds):
        with transaction(sessions, read_only=True) as session:
            started_at = time.perf_counter()
            read(session)
            taken.append(1e3 * (time.perf_counter() - started_at))
    return min(taken)


def run(url: str, sizes: list[int], rounds: int) -> None:
    upgrade_schema(url)
    engine = make_engine(url)
    sessions = make_session_factory(engine)
    cells: dict[str, list[str]] = {name: [] for name in build_calls()}
    previous = 0
    for size in sizes:
        with transaction(sessions) as session:
            add_jobs(session, range(previous, size))
            session.execute(text("DELETE FROM model_version"))
            for number in range(10):
                add_versions(session, f"m{number}", size // 10)
        previous = size
        update_planner_statistics(engine)
        for name, read in build_calls().items():
            if not cells[name]:
                cells[name].append(str(len(list_queries(sessions, read))))
            cells[name].append(f"{measure_work(sessions, read)}, {measure_ms(sessions, read, rounds):.1f} ms")
    for name, values in cells.items():
        sys.stdout.write(f"| {engine.dialect.name} | {name} | {' | '.join(values)} |\n")
    sys.stdout.flush()
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, nargs="+", default=[1000, 10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sizes = " | ".join(f"{size} jobs: work, ms" for size in options.jobs)
    sys.stdout.write(f"| database | list | statements | {sizes} |\n|---|---|--:|{'--:|' * len(options.jobs)}\n")
    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{folder}/lists.db", options.jobs, options.rounds)
    with postgres_server() as server:
        run(server.url(server.create()), options.jobs, options.rounds)


if __name__ == "__main__":
    main()
