"""Measures the bytes that the events and curves of a job take in the database, on SQLite and on PostgreSQL.

    .venv/bin/python -m benchmarks.job_rows [--jobs 50] [--epochs 20] [--flushes 30]

Each epoch has `--flushes` flushes, as of a job with a flush a second: each stores 10 steps of a metric and a progress
event. An epoch ends with an `epoch` event, a log line and two validation metrics. Tables are compacted before they are
measured.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from sqlalchemy import Engine, text, update

from core.db.repos.attempts import AttemptRepo
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.metric_rollups import MetricPoint
from core.db.repos.metrics import MetricRepo
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.db.tables import JobRow
from core.events import EventType
from core.settings import Settings
from core.storage import LocalStorage
from tests.support.builders import dataset_version, job
from tests.support.servers import postgres_server
from worker.maintenance.retention import Retention

STEPS_PER_FLUSH = 10
TABLES = ("job_event", "metric_point", "metric_rollup", "metric_summary")
RETENTION: dict[str, Any] = {"event_retention_days": 1e-9, "metric_retention_days": 1e-9}


def add_job(sessions: SessionFactory, num_epochs: int, num_flushes: int) -> None:
    with transaction(sessions) as session:
        session.add(version := dataset_version())
        session.flush()
        job_id = JobRepo(session).add(job(version)).id
        AttemptRepo(session).claim(job_id, "worker-1-4242", 60.0)
    step, total = 0, num_epochs * num_flushes * STEPS_PER_FLUSH
    for epoch in range(1, num_epochs + 1):
        for flush in range(num_flushes):
            points = [
                MetricPoint("train", "loss", step + i, epoch, 0.25 + i, None, 100 * i) for i in range(STEPS_PER_FLUSH)
            ]
            step += STEPS_PER_FLUSH
            progress = {"epoch": epoch, "epochs": num_epochs, "step": step, "steps": total, "eta_seconds": 12.5}
            metrics = {"train_loss": 0.123456, "train_accuracy": 0.912345, "valid_loss": 0.2345, "valid_accuracy": 0.9}
            payload = {"step": step, "epoch": epoch, "metrics": metrics, "progress": progress}
            entries = [(EventType.PROGRESS, payload)]
            if flush == num_flushes - 1:
                points += [MetricPoint("valid", name, step, epoch, 0.5, None, 100) for name in ("loss", "accuracy")]
                line = f"Epoch {epoch}: train_loss 0.1235, valid_loss 0.2345, valid_accuracy 0.9"
                entries = [(EventType.EPOCH, payload), (EventType.LOG, {"level": "info", "message": line})]
            with transaction(sessions) as session:
                MetricRepo(session).upsert(job_id, points)
                EventRepo(session).append(job_id, entries)
    with transaction(sessions) as session:
        AttemptRepo(session).fail(job_id, 1, {"code": "diverged", "message": "", "hint": "", "retryable": False})


def measure(engine: Engine, num_jobs: int) -> dict[str, int]:
    """Return the bytes per job of each table; on SQLite, of the whole database."""
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if engine.dialect.name == "sqlite":
            raw = engine.raw_connection()
            raw.driver_connection.execute("VACUUM")  # type: ignore[union-attr]
            pages, size = (
                raw.driver_connection.execute(f"PRAGMA {it}").fetchone()[0] for it in ("page_count", "page_size")
            )  # type: ignore[union-attr]
            raw.close()
            return {"database": pages * size // num_jobs}
        connection.execute(text("VACUUM FULL"))
        return {
            table: connection.execute(text(f"SELECT pg_total_relation_size('{table}')")).scalar_one() // num_jobs
            for table in TABLES
        }


def run(url: str, options: argparse.Namespace) -> None:
    upgrade_schema(url)
    engine = make_engine(url)
    sessions = make_session_factory(engine)
    for _ in range(options.jobs):
        add_job(sessions, options.epochs, options.flushes)
    sys.stdout.write(f"{engine.dialect.name}: {measure(engine, options.jobs)} bytes a job\n")
    if "event_retention_days" in Settings.model_fields:
        with transaction(sessions) as session:
            session.execute(update(JobRow).values(started_at=JobRow.created_at))
        with tempfile.TemporaryDirectory() as folder:
            storage = LocalStorage.open_folder(folder)
            retention = Retention(Settings(**RETENTION), sessions, storage)
            retention.run_round()
            while retention.has_more:
                retention.run_round()
            storage.close()
        sys.stdout.write(f"{engine.dialect.name}, after both retentions: {measure(engine, options.jobs)} bytes a job\n")
    sys.stdout.flush()
    engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=50)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--flushes", type=int, default=30)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run(f"sqlite:///{folder}/rows.db", options)
    with postgres_server() as server:
        run(server.url(server.create()), options)


if __name__ == "__main__":
    main()
