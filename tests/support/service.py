"""A worker and the maintenance loop as real processes, and jobs for them, without the HTTP service."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.db.repos.datasets import DatasetRepo
from core.db.repos.jobs import JobRepo
from core.db.repos.models import ModelRepo
from core.db.repos.outbox import OutboxRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import JobRow, ModelVersionRow
from core.jobs import TERMINAL, JobState
from core.outbox import OutboxRelay
from core.queue import CeleryQueue
from core.spec import JobSpec
from tests.support.builders import job
from tests.support.processes import die_with_parent, end, wait_for

ROOT = Path(__file__).resolve().parents[2]
SYNTHETIC = {"image_shape": [3, 16, 16], "num_classes": 4, "num_samples": 9600, "seed": 1}


def build_resolved_spec(**changes: Any) -> dict[str, Any]:
    """Return a resolved spec whose epochs take long enough to be interrupted."""
    default: dict[str, Any] = {
        "name": "tiny",
        "model": "tiny",
        "dataset": {"name": "synthetic", "version": 1, **SYNTHETIC},
        "architecture": {"name": "convnet", "channels": [8, 16], "head": [16], "batch_norm": True},
        "loss": {"name": "cross_entropy"},
        "schedule": {"name": "one_cycle", "max_lr": 0.01},
        "metrics": [{"name": "accuracy"}],
        "epochs": 4,
        "batch_size": 8,
        "seed": 7,
        "device": "cpu",
        "threads": 1,
    }
    return JobSpec.model_validate(default | changes).model_dump(mode="json")


class WorkerProcesses:
    """Processes with one database, queue and home, and with short timeouts. `settings` are environment variables."""

    def __init__(
        self, home: Path, database_url: str, redis_url: str, sessions: SessionFactory, **settings: str
    ) -> None:
        self.home, self.sessions, self.redis_url, self.database_url = home, sessions, redis_url, database_url
        self.sqlite = Path(database_url.removeprefix("sqlite:///"))
        """The database's file; there is none where it is PostgreSQL."""
        self._environment = {
            **os.environ,
            "CANDELA_HOME": str(home),
            "CANDELA_DATABASE_URL": database_url,
            "CANDELA_REDIS_URL": redis_url,
            "CANDELA_LEASE_S": "3",
            "CANDELA_HEARTBEAT_S": "0.5",
            "CANDELA_MAINTENANCE_S": "0.5",
            "CANDELA_GRACE_S": "20",
            "PYTHONUNBUFFERED": "1",
            **settings,
        }
        self._processes: list[subprocess.Popen[bytes]] = []

    def start_worker(self, **settings: str) -> "subprocess.Popen[bytes]":
        command = ["-m", "celery", "-A", "worker.main", "worker", "-P", "threads", "-c", "3", "-Q", "train,import"]
        return self._start("worker", [*command, "--without-gossip", "--without-mingle"], settings)

    def start_maintenance(self, **settings: str) -> "subprocess.Popen[bytes]":
        return self._start("maintenance", ["-m", "worker.maintenance"], settings)

    def _start(
        self, name: str, arguments: list[str], settings: dict[str, str], pass_fds: Sequence[int] = ()
    ) -> "subprocess.Popen[bytes]":
        self.home.mkdir(exist_ok=True)
        with (self.home / f"{name}-{len(self._processes)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                env=self._environment | settings,
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,
                pass_fds=pass_fds,
            )
        self._processes.append(process)
        return process

    def stop(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.terminate()  # all processes first; then wait for each
        for process in self._processes:
            end(process)

    def read_logs(self) -> str:
        return "\n".join(f"--- {path.name}\n{path.read_text()[-6000:]}" for path in sorted(self.home.glob("*.log")))

    def read_job_log(self, job_id: str) -> str:
        """Return the log lines of a job, of all processes."""
        lines = [line for path in self.home.glob("*.log") for line in path.read_text().splitlines()]
        return "\n".join(line for line in lines if job_id in line)

    def submit(self, *, send: bool = True, **changes: Any) -> str:
        """Store a job, and its dataset first, and return its id. Without `send`, its message stays in the outbox."""
        with transaction(self.sessions) as session:
            source = {"kind": "builtin", "options": SYNTHETIC}
            version = DatasetRepo(session).add("synthetic", source, source_key="test")
            if version.attempt == 0:
                OutboxRepo(session).add("import", version.id)
            row = JobRepo(session).add(job(version, spec=build_resolved_spec(**changes)))
            OutboxRepo(session).add("train", row.id)
        if send:
            OutboxRelay(self.sessions, CeleryQueue(self.redis_url)).relay()
        return row.id

    def get_job(self, job_id: str) -> JobRow:
        with transaction(self.sessions, read_only=True) as session:
            return JobRepo(session).get(job_id)

    def wait_until(self, job_id: str, condition: Any, what: str) -> JobRow:
        """Wait until `condition(job)` is true and return the job."""

        def look() -> JobRow | None:
            row = self.get_job(job_id)
            assert condition(row) or row.state not in TERMINAL, f"{row.state} {row.failure}\n{self.read_logs()}"
            return row if condition(row) else None

        try:
            return wait_for(look, what, 240)
        except TimeoutError as error:
            raise AssertionError(f"{error}; {vars(self.get_job(job_id))}\n{self.read_logs()}") from None

    def wait_for_end(self, job_id: str) -> JobRow:
        return self.wait_until(job_id, lambda row: row.state in TERMINAL, "the end of the job")

    def wait_for_mid_epoch(self, job_id: str) -> JobRow:
        """Wait until the job is in the middle of an epoch, some steps after its last snapshot."""

        def is_there(row: JobRow) -> bool:
            if row.state is not JobState.RUNNING or row.progress.get("epoch", 0) < 2:
                return False
            per_epoch = row.progress["steps"] // row.progress["epochs"]
            return bool(20 < row.progress["step"] % per_epoch < per_epoch - 20)

        return self.wait_until(job_id, is_there, "the middle of an epoch")

    def get_model(self, job_id: str) -> ModelVersionRow:
        row = self.get_job(job_id)
        assert row.model_version is not None, f"{row.state} {row.failure}\n{self.read_logs()}"
        with transaction(self.sessions, read_only=True) as session:
            return ModelRepo(session).get(row.model_name, row.model_version)


@contextmanager
def stop_at_end(service: WorkerProcesses) -> Iterator[WorkerProcesses]:
    """Stop all processes at the end of the context."""
    try:
        yield service
    finally:
        service.stop()
