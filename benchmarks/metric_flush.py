"""Measures the flushes of metrics as a worker makes them, on SQLite and on PostgreSQL, for one job and for eight.

    .venv/bin/python -m benchmarks.metric_flush [--seconds 5] [--rounds 3] [--code DIR]

A flush is one transaction: the fence, the progress, 30 points of three curves with their rollups, one `progress` event
and, every tenth time, an epoch with its event, log line and summaries. Each job flushes in its own thread as quickly as
it can, as the attempts of one worker with many slots do. CPU is that of the threads during the flushes, without the
database server. `--code` is another checkout whose code is measured, for example of an earlier revision.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
NUM_STEPS, CURVES = 10, ("loss", "lr", "grad_norm")


def run_flushes(url: str, num_jobs: int, seconds: float) -> tuple[float, float]:
    """Return the flushes per second, and the CPU time of a flush in ms."""
    from core.db.repos.attempts import AttemptRepo
    from core.db.repos.jobs import JobRepo
    from core.db.session import make_engine, make_session_factory, transaction
    from tests.support.builders import dataset_version, job
    from worker.control.fenced_transactions import FencedTransactions
    from worker.control.progress_recorder import ProgressRecorder
    from worker.protocol import CurvePoint, Metrics, RunProgress

    engine = make_engine(url)
    sessions = make_session_factory(engine)
    attempts = []
    for _ in range(num_jobs):
        with transaction(sessions) as session:
            version = dataset_version()
            session.add(version)
            session.flush()
            row = JobRepo(session).add(job(version, is_resolved=True))
        with transaction(sessions) as session:
            attempts.append(AttemptRepo(session).claim(row.id, "benchmark", 3600))

    def build_message(number: int, epoch: int, *, is_epoch: bool) -> Metrics:
        points = [
            CurvePoint(split="train", name=name, step=NUM_STEPS * number + step, epoch=epoch, value=1 / (1 + step))
            for name in CURVES
            for step in range(1, NUM_STEPS + 1)
        ]
        steps = NUM_STEPS * (number + 1)
        progress = RunProgress(epoch=epoch, epochs=10**6, step=steps, steps=10**9, eta_seconds=1.0)
        latest = {"train_loss": 0.5, **({"valid_loss": 1 / epoch, "valid_accuracy": 0.9} if is_epoch else {})}
        return Metrics(points=tuple(points), latest=latest, progress=progress, epoch_end=is_epoch)

    def flush_until(until: float, recorder: ProgressRecorder, first: int) -> tuple[int, float]:
        number, cpu_s = first, 0.0
        while time.perf_counter() < until:
            recorder.buffer_metrics(build_message(number, 1 + number // 10, is_epoch=number % 10 == 9))
            cpu_before = time.thread_time()
            recorder.flush()
            cpu_s += time.thread_time() - cpu_before
            number += 1
        return number, cpu_s

    recorders = [
        ProgressRecorder(FencedTransactions(sessions, one.id, one.token, lambda: False)) for one in attempts if one
    ]
    with ThreadPoolExecutor(num_jobs) as pool:

        def run(duration_s: float, firsts: list[int]) -> tuple[list[int], float]:
            until = time.perf_counter() + duration_s
            results = list(pool.map(lambda pair: flush_until(until, *pair), zip(recorders, firsts, strict=True)))
            return [number for number, _ in results], sum(cpu_s for _, cpu_s in results)

        firsts, _ = run(1.0, [0] * num_jobs)  # warms the caches
        started_at = time.perf_counter()
        ends, cpu_s = run(seconds, firsts)
        elapsed_s = time.perf_counter() - started_at
    count = sum(ends) - sum(firsts)
    engine.dispose()
    return count / elapsed_s, 1e3 * cpu_s / count


def measure(code: Path, url: str, num_jobs: int, seconds: float) -> tuple[float, float]:
    """Run the flushes in a new process with the code of a checkout."""
    command = [sys.executable, __file__, "--url", url, "--jobs", str(num_jobs), "--seconds", str(seconds)]
    environment = os.environ | {"PYTHONPATH": str(code)}
    process = subprocess.run(command, env=environment, cwd=code, capture_output=True, text=True, check=True)
    rate, cpu_ms = map(float, process.stdout.split()[-2:])
    return rate, cpu_ms


def format_range(values: list[float], digits: int) -> str:
    return " / ".join(f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--code", type=Path, nargs="+", default=[ROOT])
    parser.add_argument("--url", help=argparse.SUPPRESS)
    parser.add_argument("--jobs", type=int, default=1, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.url:
        print(*run_flushes(options.url, options.jobs, options.seconds))
        return
    sys.path.insert(0, str(ROOT))
    from core.db.schema import upgrade_schema
    from tests.support.servers import postgres_server

    print("| code | database | jobs | flushes/s | CPU ms of the client |\n|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder, postgres_server() as server:
        urls = {"sqlite": f"sqlite:///{folder}/flush.db", "postgresql": server.url(server.create())}
        for database, url in urls.items():
            upgrade_schema(url)
            for num_jobs in (1, 8):
                found = {code: list[tuple[float, float]]() for code in options.code}
                for _ in range(options.rounds):
                    for code, results in found.items():
                        results.append(measure(code, url, num_jobs, options.seconds))
                for code, results in found.items():
                    rates, times = zip(*results, strict=True)
                    row = f"| {database} | {num_jobs} | {format_range(rates, 0)} | {format_range(times, 2)} |"
                    print(f"| {code} {row}", flush=True)


if __name__ == "__main__":
    main()
