"""Measures sides in turn: the others are paused meanwhile, and each round starts with another side."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving.load import Load, Target, run_closed_loop
from benchmarks.serving.servers import Server

REST_S = 0.3
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Side:
    """A measurement and the server that must run for it. This service has no `server`, because it is never paused."""

    measure: Callable[[float], Load]
    """Measures for a number of seconds."""
    server: Server | None = None
    pid: int | None = None
    """Process id of a server that is never paused."""


@dataclass(frozen=True)
class Conditions:
    """How busy the machine was with other work."""

    load: float
    """The load average of one minute, including the benchmark."""
    busy_cores: float
    """Cores that other processes used while every side was idle."""

    def __str__(self) -> str:
        return f"load {self.load:.1f}, {self.busy_cores:.1f} of {os.cpu_count()} cores busy with other work"


def measure_conditions(seconds: float = 0.5) -> Conditions:
    before = _read_ticks()
    time.sleep(seconds)
    after = _read_ticks()
    total = after[0] - before[0]
    idle = after[1] - before[1]
    return Conditions(os.getloadavg()[0], (os.cpu_count() or 1) * (1 - idle / total) if total else 0.0)


def measure_in_turn(
    sides: Mapping[str, Side], num_rounds: int, seconds: float, log: Callable[[str], None]
) -> dict[str, list[Load]]:
    """Measure every side once per round, in rotating order. A short warm-up round is not counted."""
    loads: dict[str, list[Load]] = {name: [] for name in sides}
    names = list(sides)
    with pause_servers([side.server for side in sides.values() if side.server is not None]):
        for number in range(num_rounds + 1):
            if number:
                log(f"  round {number}: {measure_conditions()}")
            for name in names[number % len(names) :] + names[: number % len(names)]:
                load = _measure_side(sides[name], seconds if number else WARM_UP_S)
                if number:
                    loads[name].append(load)
                    log(f"    {name}: {format_load(load)}")
    return loads


def make_closed_loop(target: Target, callers: int) -> Callable[[float], Load]:
    """Return a measurement with a closed loop against one server."""
    return lambda seconds: run_closed_loop(target, callers, seconds)


def format_load(load: Load) -> str:
    failed = f", {load.num_failed} FAILED" if load.num_failed else ""
    times = f", p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms" if load.p50_ms else ""
    cpu = f", {load.cpu_ms:.2f} CPU ms each" if load.cpu_ms else ""
    return f"{load.rate:.0f}/s{times}{cpu}{failed}"


@contextmanager
def pause_servers(servers: Sequence[Server]) -> Iterator[None]:
    """Pause the servers until the context exits. `resume` starts one of them."""
    with ExitStack() as stack:
        for server in dict.fromkeys(servers):
            server.pause()
            stack.callback(server.resume)
        yield


def _measure_side(side: Side, seconds: float) -> Load:
    if side.server is not None:
        side.server.resume()
    time.sleep(REST_S)  # lets the previous side finish its remaining work
    pid = side.pid if side.server is None else side.server.process.pid
    try:
        before = 0.0 if pid is None else cpu_seconds(pid)
        load = side.measure(seconds)
        if pid is None or not load.num_responses:
            return load
        return replace(load, cpu_ms=1e3 * (cpu_seconds(pid) - before) / load.num_responses)
    finally:
        if side.server is not None:
            side.server.pause()


def cpu_seconds(pid: int) -> float:
    """Return the CPU seconds of a process and its living descendants."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # the process ended meanwhile
            continue
        one = int(stat.parent.name)
        parents[one], ticks[one] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    while grown := {one for one, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(ticks.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")


def _read_ticks() -> tuple[int, int]:
    """Return the total and the idle ticks of all CPUs."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]
