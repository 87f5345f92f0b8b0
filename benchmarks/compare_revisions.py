"""Compares the speed of two revisions of this repository: predictions over HTTP and the training engine.

    git worktree add --detach /tmp/old COMMIT
    python -m benchmarks.compare_revisions --old /tmp/old --new . [--starts 3] [--rounds 8] [--seconds 2]

Each revision runs its own code from its own folder, in separate processes. `control` is a second copy of the old
revision: its ratios show the noise. The sides are measured in turn, in short rounds, and started several times: two
starts of the same code differ. A ratio compares two sides of the same round.

Serving: `candela.serve` with a copy of one home, the small model, and 32 keep-alive callers. The old revision trains
the model, and each side migrates its copy to its own schema. Engine: the side `engine` of each revision's
`benchmarks/engine_epoch.py`. Requires `wrk`.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from benchmarks.serving import models
from benchmarks.serving.environments import PLACE
from benchmarks.serving.load import Load, Target, run_closed_loop
from benchmarks.serving.models import SMALL
from benchmarks.serving.rounds import Side, measure_conditions, measure_in_turn
from benchmarks.serving.servers import Server, find_free_port, run_candela

CALLERS = 32
REQUESTS = {"PNG": ("image", "/v1/models/small/predict"), "JSON": ("tensor", "/v2/models/small/infer")}
TABLE = """
Ratios: first quartile, **median**, third quartile of the rounds. The control is a second copy of the old revision.

| measurement | old | new | new / old | control / old | rounds |
|---|--:|--:|--:|--:|--:|"""
# Trains an epoch for each line that it reads, and prints images per second and CPU microseconds per image.
ENGINE = """
import sys, time, numpy as np
from benchmarks import engine_epoch
num_steps, num_threads = map(int, sys.argv[1:])
engine_epoch.use_threads(num_threads)
engine_epoch.keep_freed_memory()
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (32 * num_steps, 28, 28, 1), dtype=np.uint8)
sides = engine_epoch.Sides(images, rng.integers(0, 10, len(images)), 32, "fp32")
for _ in sys.stdin:
    start_s, start_cpu_s = time.perf_counter(), time.process_time()
    sides.all["engine"]()
    seconds, cpu_seconds = time.perf_counter() - start_s, time.process_time() - start_cpu_s
    print(len(images) / seconds, 1e6 * cpu_seconds / len(images), flush=True)
"""
Rows = defaultdict[str, defaultdict[str, list[float]]]  # measurement -> side -> one value for each round
report_progress = partial(print, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class ServingLoad(Load):
    event_loop_ms: float = 0.0
    """CPU time of the event loop's thread for each request."""


def check_imports(revision: Path) -> None:
    """Exit if Python would load the service from another folder."""
    command = [sys.executable, "-c", "import candela.serve; print(candela.serve.__file__)"]
    environment = os.environ | {"PYTHONPATH": str(revision)}
    path = subprocess.run(command, cwd="/", env=environment, stdout=subprocess.PIPE, text=True, check=True).stdout
    if not Path(path.strip()).is_relative_to(revision):
        sys.exit(f"{revision} is not a checkout of this repository: candela.serve is loaded from {path.strip()}")


def start_service(revision: Path, home: Path, name: str) -> tuple[Server, str]:
    address = f"127.0.0.1:{find_free_port()}"
    environment = {
        "PYTHONPATH": str(revision),
        "CANDELA_HOME": str(home),
        "CANDELA_REDIS_URL": f"redis+socket://{home}/none.sock?virtual_host=0",
    }
    migrate = [sys.executable, "-m", "alembic", "upgrade", "head"]  # the old revision may have an older schema
    subprocess.run(migrate, cwd=revision, env=os.environ | environment, capture_output=True, check=True)
    command = [sys.executable, "-m", "candela.serve", address]
    return Server(f"compare-{name}", command, environment, PLACE / "runs"), f"http://{address}"


def read_first_thread_s(pid: int) -> float:
    """Return the CPU seconds of a process's first thread, which runs the event loop."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def make_measure(target: Target, pid: int) -> Callable[[float], ServingLoad]:
    def measure(seconds: float) -> ServingLoad:
        before_s = read_first_thread_s(pid)
        load = run_closed_loop(target, CALLERS, seconds)
        if load.num_failed:
            raise RuntimeError(f"{load.num_failed} requests to {target.url} failed")
        return ServingLoad(**vars(load), event_loop_ms=1e3 * (read_first_thread_s(pid) - before_s) / load.num_responses)

    return measure


def measure_serving(sides: dict[str, Path], home: Path, options: argparse.Namespace, rows: Rows) -> None:
    """Start every side with its own copy of the home, and add the figures of all rounds."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="candela-compare-")))
        services: dict[str, tuple[Server, str]] = {}
        for name, revision in sides.items():
            copy = shutil.copytree(home, folder / name, ignore=shutil.ignore_patterns("*.sock", "logs"))
            services[name] = start_service(revision, copy, name)
            stack.enter_context(services[name][0])
        for request, (body_name, path) in REQUESTS.items():
            body, measured = models.make_bodies(SMALL)[body_name], {}
            for name, (server, url) in services.items():
                server.wait_until_ready(url + path, body.path.read_bytes(), body.content_type)
                measure = make_measure(body.to_target(url + path), server.process.pid)
                measured[name] = Side(measure, pid=server.process.pid)
            loads: dict[str, list[Any]] = measure_in_turn(measured, options.rounds, options.seconds, report_progress)
            for name in sides:
                for load in loads[name]:
                    rows[f"{request} to {path}: requests/s"][name].append(load.rate)
                    rows[f"{request}: event loop, CPU ms/request"][name].append(load.event_loop_ms)
                    rows[f"{request}: all processes, CPU ms/request"][name].append(load.cpu_ms)


def start_engine(revision: Path, num_steps: int, num_threads: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", ENGINE, str(num_steps), str(num_threads)]
    environment = os.environ | {"PYTHONPATH": str(revision)}
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    return subprocess.Popen(command, cwd=revision, env=environment, text=True, **pipes)


def run_epoch(engine: "subprocess.Popen[str]") -> tuple[float, float]:
    """Return images per second and CPU microseconds per image."""
    engine.stdin.write("\n")
    engine.stdin.flush()
    images_per_s, cpu_us = engine.stdout.readline().split()
    return float(images_per_s), float(cpu_us)


def measure_engine(sides: dict[str, Path], options: argparse.Namespace, rows: Rows) -> None:
    """Start every side once and add the figures of all rounds."""
    names = list(sides)
    with ExitStack() as stack:
        engines = {}
        for name, revision in sides.items():
            engines[name] = stack.enter_context(start_engine(revision, options.steps, options.threads))
            stack.callback(engines[name].kill)
            run_epoch(engines[name])  # imports and the first epoch are not measured
        for number in range(options.rounds):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                images_per_s, cpu_us = run_epoch(engines[name])
                rows["engine: images/s"][name].append(images_per_s)
                rows["engine: CPU µs/image"][name].append(cpu_us)
                report_progress(f"    engine, round {number + 1}, {name}: {images_per_s:.0f} images/s")


def format_row(measurement: str, figures: dict[str, list[float]]) -> str:
    cells = [f"{median(figures[name]):.4g}" for name in ("old", "new")]
    for name in ("new", "control"):
        low, middle, high = quantiles([one / old for one, old in zip(figures[name], figures["old"], strict=True)], n=4)
        cells.append(f"{low:.3f} **{middle:.3f}** {high:.3f}")
    return f"| {measurement} | {' | '.join(cells)} | {len(figures['old'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--old", type=Path, required=True, help="checkout of the old revision")
    parser.add_argument("--new", type=Path, required=True, help="checkout of the new revision")
    parser.add_argument("--starts", type=int, default=3, help="of every side")
    parser.add_argument("--rounds", type=int, default=8, help="rounds after each start, at least 2")
    parser.add_argument("--seconds", type=float, default=2, help="length of one serving measurement")
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of one engine measurement")
    parser.add_argument("--threads", type=int, default=1, help="of the engine; more are noisy on a busy machine")
    parser.add_argument("--home", type=Path, help="home with the model `small`; default: train it")
    options = parser.parse_args()
    sides = {"old": options.old.resolve(), "new": options.new.resolve(), "control": options.old.resolve()}
    for revision in sides.values():
        check_imports(revision)
    rows: Rows = defaultdict(lambda: defaultdict(list))
    with tempfile.TemporaryDirectory(prefix="candela-compare-") as folder:
        home = options.home or Path(folder) / "home"
        if options.home is None:
            with run_candela(home, {"PYTHONPATH": str(sides["old"])}) as (url, _):
                models.train_if_missing(url, SMALL)
        before = measure_conditions()
        for number in range(options.starts):
            order = dict(list(sides.items())[:: 1 if number % 2 else -1])
            measure_serving(order, home, options, rows)
            measure_engine(order, options, rows)
    print(f"Other work, before: {before}; after: {measure_conditions()}.\n{TABLE}")
    for measurement, figures in rows.items():
        print(format_row(measurement, figures))


if __name__ == "__main__":
    main()
