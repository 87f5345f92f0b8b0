"""The processes of the simulated deployment, and the CPU time that each component uses."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from benchmarks.fleet.simulated_trainer import Training
from core.db import schema
from core.db.queue_tables import WorkerRow
from core.db.session import make_engine, make_session_factory, transaction
from tests.support.processes import end, list_children, read_cpu_s, wait_for
from tests.support.servers import PostgresServer, RedisServer, postgres_server, valkey_server
from tests.support.stack import Stack

# As in production: short intervals of tests would only add work.
SETTINGS = {
    "CANDELA_LEASE_S": "30",
    "CANDELA_HEARTBEAT_S": "5",
    "CANDELA_MAINTENANCE_S": "5",
    "CANDELA_LOG_LEVEL": "warning",
}
MAX_CONNECTIONS = 1500
WORKERS_PER_PROCESS = 50


class Fleet(Stack):
    """PostgreSQL, Valkey, the API, maintenance and processes of simulated workers."""

    def __init__(self, home: Path, postgres: PostgresServer, valkey: RedisServer) -> None:
        postgres.execute("CREATE DATABASE fleet")
        url = postgres.url("fleet")
        schema.upgrade_schema(url)
        self._engine = make_engine(url)
        super().__init__(home, url, valkey.url, make_session_factory(self._engine), **SETTINGS)
        self._postgres, self._valkey = postgres, valkey
        self._workers: list[subprocess.Popen[bytes]] = []
        self._bundle = home / "bundle"

    def prepare(self) -> None:
        """Train one real job: it imports the dataset, and its files are those of every simulated job."""
        self.start_missing()
        job_id = self.submit_job(epochs=1, model="real")
        self.wait_for_end(job_id)
        self._bundle.mkdir()
        for file in self.get_stored_path(self.get_model(job_id).key).iterdir():
            (self._bundle / file.name).write_bytes(file.read_bytes())
        assert self.worker is not None
        end(self.worker)

    @contextmanager
    def run_workers(self, count: int, training: Training) -> Iterator[None]:
        """Run simulated workers. At the end they are killed, so that no unfinished job costs time."""
        try:
            for first in range(0, count, WORKERS_PER_PROCESS):
                number = min(WORKERS_PER_PROCESS, count - first)
                command = ["-m", "benchmarks.fleet.workers", "--workers", str(number), "--bundle", str(self._bundle)]
                command += ["--job-s", str(training.job_s), "--epoch-s", str(training.epoch_s)]
                self._workers.append(self._start("fleet", command, {}))
            wait_for(lambda: self._count_workers() == count, "the workers", 120)
            yield
        finally:
            for process in self._workers:
                process.kill()
                process.wait()
            self._workers.clear()

    def read_cpu_s(self) -> dict[str, float]:
        """Return the CPU seconds of each component so far."""
        assert self.api is not None
        assert self.maintenance is not None
        roots = {
            "PostgreSQL": [self._postgres.pid],
            "Valkey": [self._valkey.pid],
            "API": [self.api.pid],
            "maintenance": [self.maintenance.pid],
            "workers": [process.pid for process in self._workers],
        }
        return {name: sum(map(_read_tree_cpu_s, pids)) for name, pids in roots.items()}

    def close(self) -> None:
        """Stop the service and close the connections."""
        super().close()
        self._engine.dispose()

    def _count_workers(self) -> int:
        with transaction(self.sessions, read_only=True) as session:
            return session.scalar(select(func.count()).select_from(WorkerRow)) or 0


@contextmanager
def run_fleet(home: Path) -> Iterator[Fleet]:
    """Start the servers and the service. PostgreSQL writes as in production."""
    settings = {"max_connections": str(MAX_CONNECTIONS), "fsync": "on", "full_page_writes": "on"}
    with postgres_server(**settings) as postgres, valkey_server() as valkey:
        fleet = Fleet(home, postgres, valkey)
        try:
            fleet.prepare()
            yield fleet
        finally:
            fleet.close()


def _read_tree_cpu_s(pid: int) -> float:
    try:
        cpu_s = read_cpu_s(pid, with_ended_children=True)
    except OSError:
        return 0.0
    return cpu_s + sum(map(_read_tree_cpu_s, list_children(pid)))
