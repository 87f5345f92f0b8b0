"""Measures how long the database takes for a metric curve of a million steps, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.metric_curves [--steps 1000000] [--rounds 20]

The curve has a point at every step. `database ms` is the median time in which the driver executes the statements of a
request and fetches their rows; `median ms` and `worst ms` are those of the whole method of the repository. A round that
warms the caches comes first.
"""

import argparse
import statistics
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy import Engine, event, insert
from sqlalchemy.orm import Session

from core.db.metric_rollup import MetricPoint
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_grid import CurveName, CurveQuery, GridAxis, MetricGridRepo
from core.db.repos.metric_rollups import MetricRollupRepo, build_rollups
from core.db.repos.metrics import MetricRepo
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.tables import MetricPointRow
from tests.support.builders import dataset_version, job
from tests.support.servers import postgres_server

CHUNK_STEPS = 10 * 4096
Read = Callable[[Session], object]


def build_points(steps: range) -> list[MetricPoint]:
    return [MetricPoint("train", "loss", step, 1 + step // 1000, 1 / (1 + step % 997), None, step) for step in steps]


def fill(sessions: SessionFactory, num_steps: int) -> str:
    """Store a job with a long curve and return its id."""
    with transaction(sessions) as session:
        version = dataset_version()
        session.add(version)
        session.flush()
        job_id = JobRepo(session).add(job(version)).id
    for first in range(0, num_steps, CHUNK_STEPS):
        points = build_points(range(first, min(first + CHUNK_STEPS, num_steps)))
        with transaction(sessions) as session:
            session.execute(insert(MetricPointRow), [{"job_id": job_id, **point._asdict()} for point in points])
            MetricRollupRepo(session).store_rollups(job_id, build_rollups(points))
    return job_id


def list_statements(engine: Engine, sessions: SessionFactory, read: Read) -> list[tuple[str, object]]:
    """Return the statements of a request with their parameters."""
    statements: list[tuple[str, object]] = []

    def record(_connection: object, _cursor: object, statement: str, parameters: object, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", record)
    with transaction(sessions, read_only=True) as session:
        read(session)
    event.remove(engine, "before_cursor_execute", record)
    return [it for it in statements if it[0].startswith("SELECT")]


def measure_statements(engine: Engine, statements: list[tuple[str, object]], rounds: int) -> float:
    """Return the median time in ms in which the driver executes all statements and fetches their rows."""
    taken = []
    connection = engine.raw_connection()
    cursor = connection.cursor()
    for _ in range(rounds + 1):
        started_at = time.perf_counter()
        for statement, parameters in statements:
            cursor.execute(statement, parameters)
            cursor.fetchall()
        taken.append(1e3 * (time.perf_counter() - started_at))
    connection.close()
    return statistics.median(taken[1:])


def measure(sessions: SessionFactory, read: Read, rounds: int) -> tuple[float, float, float]:
    """Return the median and the maximum time in ms, and the peak of allocated memory in MiB."""
    taken = []
    for _ in range(rounds + 1):
        with transaction(sessions, read_only=True) as session:
            started_at = time.perf_counter()
            read(session)
            taken.append(1e3 * (time.perf_counter() - started_at))
    tracemalloc.start()
    with transaction(sessions, read_only=True) as session:
        read(session)
    peak = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    return statistics.median(taken[1:]), max(taken[1:]), peak


def run(url: str, num_steps: int, rounds: int) -> None:
    upgrade_schema(url)
    engine = make_engine(url)
    sessions = make_session_factory(engine)
    job_id = fill(sessions, num_steps)
    if engine.dialect.name == "postgresql":
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.exec_driver_sql("VACUUM ANALYZE")

    def read_grid(axis: GridAxis, buckets: int, start: int | None = None, end: int | None = None) -> Read:
        query = CurveQuery([job_id], [CurveName("train", "loss")], axis, start, end, buckets)
        return lambda session: MetricGridRepo(session).read_grid(query)

    def read_series(max_points: int | None) -> Read:
        return lambda session: MetricRepo(session).list_series(job_id, max_points=max_points)

    half = num_steps // 2
    cases = {
        "grid of 500 buckets over all steps": read_grid(GridAxis.STEP, 500),
        "grid of 2000 buckets over all steps": read_grid(GridAxis.STEP, 2000),
        "zoom: 500 buckets over half of the steps": read_grid(GridAxis.STEP, 500, half, num_steps),
        "zoom: 500 buckets over 260,000 steps, the most rows": read_grid(GridAxis.STEP, 500, half, half + 260_000),
        "zoom: 500 buckets over 50,000 steps": read_grid(GridAxis.STEP, 500, half, half + 50_000),
        "zoom: 500 buckets over 2,000 steps": read_grid(GridAxis.STEP, 500, half, half + 2000),
        "500 buckets of training time": read_grid(GridAxis.TIME, 500),
        "`max_points=500` of a job's metrics": read_series(500),
    }
    for name, read in cases.items():
        database = measure_statements(engine, list_statements(engine, sessions, read), rounds)
        median, worst, peak = measure(sessions, read, rounds)
        line = f"| {engine.dialect.name} | {name} | {database:.1f} | {median:.1f} | {worst:.1f} | {peak:.1f} |\n"
        sys.stdout.write(line)
        sys.stdout.flush()
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    heading = "| database | request | database ms | median ms | worst ms | peak MiB |\n|---|---|--:|--:|--:|--:|\n"
    sys.stdout.write(heading)
    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{folder}/curves.db", options.steps, options.rounds)
    with postgres_server() as server:
        run(server.url(server.create()), options.steps, options.rounds)


if __name__ == "__main__":
    main()
