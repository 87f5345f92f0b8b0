"""Sides that take turns: one is measured while the others are stilled, and the next round begins with another one."""

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from benchmarks.serving.load import Load, Target, closed_loop
from benchmarks.serving.servers import Server

REST_S = 0.3
WARM_UP_S = 1.0


@dataclass(frozen=True)
class Side:
    """What is measured, and the server that must be awake for it; this service has none, it is never stilled."""

    measure: Callable[[float], Load]
    """For so many seconds."""
    server: Server | None = None
    pid: int | None = None
    """Of a server that is not stilled."""


@dataclass(frozen=True)
class Conditions:
    """How busy the machine was with other work than ours."""

    load: float
    """The kernel's load average over a minute, ours included."""
    busy_cores: float
    """Processor time that went elsewhere in a moment when every side was at rest."""

    def __str__(self) -> str:
        return f"load {self.load:.1f}, {self.busy_cores:.1f} of {os.cpu_count()} cores busy with other work"


def conditions(seconds: float = 0.5) -> Conditions:
    before = _ticks()
    time.sleep(seconds)
    after = _ticks()
    total = after[0] - before[0]
    idle = after[1] - before[1]
    return Conditions(os.getloadavg()[0], (os.cpu_count() or 1) * (1 - idle / total) if total else 0.0)


def in_turn(
    sides: Mapping[str, Side], num_rounds: int, seconds: float, say: Callable[[str], None]
) -> dict[str, list[Load]]:
    """Measure every side once a round, in an order that turns; a short round comes first and is forgotten."""
    found: dict[str, list[Load]] = {name: [] for name in sides}
    names = list(sides)
    with stilled([side.server for side in sides.values() if side.server is not None]):
        for number in range(num_rounds + 1):
            if number:
                say(f"  round {number}: {conditions()}")
            for name in names[number % len(names) :] + names[: number % len(names)]:
                load = _measure(sides[name], seconds if number else WARM_UP_S)
                if number:
                    found[name].append(load)
                    say(f"    {name}: {told(load)}")
    return found


def calling(target: Target, callers: int) -> Callable[[float], Load]:
    """A closed loop against one server."""
    return lambda seconds: closed_loop(target, callers, seconds)


def told(load: Load) -> str:
    failed = f", {load.num_failed} FAILED" if load.num_failed else ""
    times = f", p50 {load.p50_ms:.1f} ms, p99 {load.p99_ms:.1f} ms" if load.p50_ms else ""
    cpu = f", {load.cpu_ms:.2f} CPU ms each" if load.cpu_ms else ""
    return f"{load.rate:.0f}/s{times}{cpu}{failed}"


@contextmanager
def stilled(servers: Sequence[Server]) -> Iterator[None]:
    """None of them runs, unless woken, until the block is left."""
    with ExitStack() as stack:
        for server in dict.fromkeys(servers):
            server.still()
            stack.callback(server.wake)
        yield


def _measure(side: Side, seconds: float) -> Load:
    if side.server is not None:
        side.server.wake()
    time.sleep(REST_S)  # what the side before left behind is done
    pid = side.pid if side.server is None else side.server.process.pid
    try:
        before = 0.0 if pid is None else cpu_seconds(pid)
        load = side.measure(seconds)
        if pid is None or not load.num_answers:
            return load
        return replace(load, cpu_ms=1e3 * (cpu_seconds(pid) - before) / load.num_answers)
    finally:
        if side.server is not None:
            side.server.still()


def cpu_seconds(pid: int) -> float:
    """What a process and all that descend from it have computed; those that have ended are not counted."""
    parents, ticks = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:  # it has just ended
            continue
        one = int(stat.parent.name)
        parents[one], ticks[one] = int(fields[1]), int(fields[11]) + int(fields[12])
    family = {pid}
    while grown := {one for one, parent in parents.items() if parent in family} - family:
        family |= grown
    return sum(ticks.get(one, 0) for one in family) / os.sysconf("SC_CLK_TCK")


def _ticks() -> tuple[int, int]:
    """Of all processors: all ticks, and the idle ones."""
    fields = [int(field) for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return sum(fields), fields[3] + fields[4]
