"""Measures the CPU time of an idle service: many jobs are queued, and no worker can run one of them.

    .venv/bin/python -m benchmarks.idle [--jobs 100000] [--seconds 60] [--settle 30]

Either the jobs require a GPU and the worker has none, or the jobs could run on a CPU and there is no worker. The table
shows the share of a core that each process uses, without its child processes.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

from core.db.schema import upgrade_schema
from core.db.session import make_engine, make_session_factory
from tests.support.database_work import update_planner_statistics
from tests.support.full_queue import fill_queue
from tests.support.processes import list_children, read_cpu_s, wait_for
from tests.support.servers import PostgresServer, postgres_server, valkey_server
from tests.support.stack import Stack

DEFAULTS = {"CANDELA_LEASE_S": "30", "CANDELA_HEARTBEAT_S": "5", "CANDELA_MAINTENANCE_S": "5"}


def read_server_cpu_s(server: PostgresServer) -> float:
    """Return the CPU seconds of the processes of a PostgreSQL server, and of those that have ended."""
    pid = int((server.folder / "data" / "postmaster.pid").read_text().split()[0])
    cpu_s = 0.0
    for process in [pid, *list_children(pid)]:
        with suppress(OSError):
            cpu_s += read_cpu_s(process, with_ended_children=True)
    return cpu_s


def measure(
    database_url: str, redis_url: str, options: argparse.Namespace, device: str, server: PostgresServer | None
) -> None:
    upgrade_schema(database_url)
    engine = make_engine(database_url)
    sessions = make_session_factory(engine)
    fill_queue(sessions, options.jobs, device=device)
    update_planner_statistics(engine)
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home), database_url, redis_url, sessions, **DEFAULTS)
        try:
            processes = {"API": stack.start_api(), "maintenance": stack.start_maintenance()}
            if device == "cuda":
                processes["worker"] = stack.start_worker()
            wait_for(stack.is_ready, "the API", 300)
            time.sleep(options.settle)
            readers: dict[str, Callable[[], float]] = {
                name: partial(read_cpu_s, process.pid) for name, process in processes.items()
            }
            if server is not None:
                readers["PostgreSQL"] = partial(read_server_cpu_s, server)
            before = {name: read() for name, read in readers.items()}
            time.sleep(options.seconds)
            for name, read in readers.items():
                share = (read() - before[name]) / options.seconds
                sys.stdout.write(f"| {engine.dialect.name} | {device} | {name} | {100 * share:.2f} |\n")
                sys.stdout.flush()
        finally:
            stack.close()
            engine.dispose()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--settle", type=float, default=30.0)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    options = parser.parse_args()
    sys.stdout.write("| database | device of the jobs | process | % of a core |\n|---|---|---|--:|\n")
    for kind in options.databases:
        for device in ("cuda", "auto"):
            with tempfile.TemporaryDirectory() as folder, ExitStack() as servers, valkey_server() as queue:
                server = servers.enter_context(postgres_server()) if kind == "postgresql" else None
                url = f"sqlite:///{folder}/jobs.db" if server is None else server.url(server.create())
                measure(url, queue.url, options, device, server)


if __name__ == "__main__":
    main()
