"""Measures event streams: what silent ones cost, and the time from an event to its followers.

    .venv/bin/python -m benchmarks.event_streams [--followers 5000] [--jobs 1] [--events 30] [--interval 1]

Starts Valkey, a database (SQLite, or PostgreSQL with --postgresql) and one API process. The clients run in another
process, and a third one appends an event to every job every `--interval` seconds. Latencies are from the begin of the
transaction that stores an event to the moment in which a client has it. CPU times are those of the API process.
"""

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import cast

sys.path.insert(0, str(Path(__file__).parent.parent))

import httpx
import uvloop

from core.bus import RedisBus
from core.db.repos.events import EventRepo
from core.db.repos.jobs import JobRepo
from core.db.schema import upgrade_schema
from core.db.session import SessionFactory, make_engine, make_session_factory, transaction
from core.events import EventType
from tests.support.builders import dataset_version, job
from tests.support.processes import die_with_parent, end, read_cpu_s, wait_for
from tests.support.servers import postgres_server, valkey_server

ROOT = Path(__file__).parent.parent
MARK = b"sent_at="
OPEN_AT_ONCE = 50
# Earlier versions limit the streams of a process to 500; the benchmark measures what more of them would cost.
SERVE = "import app.services.event_streams as e; e.MAX_STREAMS = 10**6; from candela.serve import main; main()"


class Follower(asyncio.Protocol):
    """Reads a stream and records the latencies of the events with a time."""

    def __init__(self, request: bytes, latencies: list[float], opened: "asyncio.Future[None]") -> None:
        self._request, self._latencies, self._opened = request, latencies, opened
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).write(self._request)  # uvloop's transport

    def data_received(self, chunk: bytes) -> None:
        now = time.time()
        if not self._opened.done():
            if not chunk.startswith(b"HTTP/1.1 200"):
                self._opened.set_exception(RuntimeError(chunk[:300].decode()))
                return
            self._opened.set_result(None)
        text = self._rest + chunk
        position = text.find(MARK)
        while position >= 0 and len(text) >= position + len(MARK) + 17:
            self._latencies.append(now - float(text[position + len(MARK) : position + len(MARK) + 17]))
            position = text.find(MARK, position + 1)
        self._rest = text[position:] if position >= 0 else text[-len(MARK) :]


async def follow(url: str, job_ids: list[str], num_followers: int) -> None:
    """Open the streams, print `ready`, and print the latencies at the end of the input."""
    host, port = url.removeprefix("http://").split(":")
    loop, latencies, limit = asyncio.get_running_loop(), list[float](), asyncio.Semaphore(OPEN_AT_ONCE)

    async def open_stream(number: int) -> None:
        path = f"/v1/jobs/{job_ids[number % len(job_ids)]}/events"
        request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode()
        async with limit:
            opened = loop.create_future()
            await loop.create_connection(lambda: Follower(request, latencies, opened), host, int(port))
            await opened

    results = await asyncio.gather(*(open_stream(number) for number in range(num_followers)), return_exceptions=True)
    failed = [result for result in results if isinstance(result, BaseException)]
    print(json.dumps({"opened": num_followers - len(failed), "error": str(failed[0]) if failed else ""}), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    latencies.clear()
    print("started", flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    print(json.dumps(latencies), flush=True)


def append_events(database: str, redis_url: str, job_ids: list[str], num_events: int, interval_s: float) -> None:
    sessions = make_session_factory(make_engine(database), RedisBus(redis_url).publish)
    for number in range(num_events):
        started_at = time.monotonic()
        for job_id in job_ids:
            message = f"{MARK.decode()}{time.time():.6f} of event {number}"
            with transaction(sessions) as session:
                EventRepo(session).append(job_id, [(EventType.LOG, {"level": "info", "message": message})])
        time.sleep(max(0.0, started_at + interval_s - time.monotonic()))


@contextmanager
def run_api(database: str, redis_url: str, home: Path) -> Iterator[tuple[str, int]]:
    """Run one API process. Yield its URL and its process id."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    variables = {"DATABASE_URL": database, "REDIS_URL": redis_url, "HOME": str(home), "LOG_LEVEL": "warning"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **{f"CANDELA_{key}": it for key, it in variables.items()}}
    command = [sys.executable, "-c", SERVE, f"127.0.0.1:{port}"]
    with (home / "api.log").open("wb") as log:
        options = {"stdout": log, "stderr": log, "cwd": ROOT}
        process = subprocess.Popen(command, env=environment, preexec_fn=die_with_parent, **options)  # type: ignore[call-overload]
    url = f"http://127.0.0.1:{port}"

    def is_live() -> bool:
        assert process.poll() is None, (home / "api.log").read_text()
        try:
            return httpx.get(f"{url}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    try:
        wait_for(is_live, "the API", 60)
        yield url, process.pid
    finally:
        end(process)


def submit_jobs(sessions: SessionFactory, count: int) -> list[str]:
    with transaction(sessions) as session:
        version = dataset_version(name=f"data-{uuid.uuid4().hex[:8]}")
        session.add(version)
        session.flush()
        return [JobRepo(session).add(job(version)).id for _ in range(count)]


def read_memory_mib(pid: int) -> float:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def measure_cores(pid: int, seconds: float) -> float:
    before, started_at = read_cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return (read_cpu_s(pid) - before) / (time.monotonic() - started_at)


def measure(options: argparse.Namespace, database: str, redis_url: str, home: Path) -> None:
    upgrade_schema(database)
    job_ids = submit_jobs(make_session_factory(make_engine(database)), options.jobs)
    with run_api(database, redis_url, home) as (url, pid):
        time.sleep(20)  # the inference process starts
        idle, memory = measure_cores(pid, options.silent), read_memory_mib(pid)
        command = [sys.executable, __file__, "--follow", url, "--followers", str(options.followers), *job_ids]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        clients = subprocess.Popen(  # type: ignore[call-overload]
            command, env=environment, text=True, preexec_fn=die_with_parent, **pipes
        )
        cpu_s, started_at = read_cpu_s(pid), time.monotonic()
        opened = json.loads(clients.stdout.readline())
        opening = f"{time.monotonic() - started_at:.1f} s, {read_cpu_s(pid) - cpu_s:.1f} CPU s"
        print(f"opened {opened['opened']} streams in {opening} {opened['error']}", flush=True)
        time.sleep(5)
        silent = measure_cores(pid, options.silent)
        per_stream = 1024 * (read_memory_mib(pid) - memory) / max(1, opened["opened"])
        cost = f"{100 * silent:.1f} % of a core, {100 * idle:.1f} % without streams"
        print(f"silent: {cost}; {per_stream:.0f} KiB a stream", flush=True)
        clients.stdin.write("\n")
        clients.stdin.flush()
        clients.stdout.readline()
        cpu_s = read_cpu_s(pid)
        rate = [str(options.events), str(options.interval)]
        appending = [sys.executable, __file__, "--append", database, redis_url, *rate, *job_ids]
        subprocess.run(appending, env=environment, check=True)
        time.sleep(options.settle)
        cpu_s = read_cpu_s(pid) - cpu_s
        clients.stdin.write("\n")
        clients.stdin.flush()
        latencies = sorted(json.loads(clients.stdout.readline()))
        expected = options.events * opened["opened"]
        milliseconds = [1e3 * latencies[int(share * (len(latencies) - 1))] for share in (0.0, 0.5, 0.99, 1.0)]
        print(
            f"events: {len(latencies)} of {expected} received; "
            f"ms min {milliseconds[0]:.1f}, p50 {milliseconds[1]:.0f}, "
            f"p99 {milliseconds[2]:.0f}, max {milliseconds[3]:.0f}; mean {1e3 * statistics.mean(latencies):.0f}; "
            f"{1e6 * cpu_s / max(1, len(latencies)):.0f} CPU µs a delivery",
            flush=True,
        )
        clients.kill()
        clients.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--followers", type=int, default=5000)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--events", type=int, default=30)
    parser.add_argument("--interval", type=float, default=1.0)
    parser.add_argument("--silent", type=float, default=20.0)
    parser.add_argument("--settle", type=float, default=5.0)
    parser.add_argument("--postgresql", action="store_true")
    parser.add_argument("--follow", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--append", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("ids", nargs="*", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.follow:
        uvloop.run(follow(options.follow, options.ids, options.followers))
        return
    if options.append:
        database, redis_url, num_events, interval_s = options.append
        append_events(database, redis_url, options.ids, int(num_events), float(interval_s))
        return
    with ExitStack() as stack:
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        valkey = stack.enter_context(valkey_server())
        database = f"sqlite:///{home}/candela.db"
        if options.postgresql:
            server = stack.enter_context(postgres_server())
            database = server.url(server.create())
        measure(options, database, valkey.url, home)


if __name__ == "__main__":
    main()
