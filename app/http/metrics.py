"""What Prometheus may ask of this process; counters that any part of it may raise."""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""Prometheus' own variable: where processes that answer for each other keep their counts."""

REQUESTS = Counter("candela_http_requests_total", "Requests answered.", ["method", "route", "status"])
LATENCY = Histogram(
    "candela_http_request_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
JOBS = Gauge("candela_jobs", "Jobs by state; `queued` is the queue's depth.", ["state"], multiprocess_mode="mostrecent")


def exposition() -> bytes:
    """Everything as Prometheus reads it: of all HTTP processes of this machine, where they share a folder for it."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    except ValueError:  # there is no such folder
        return generate_latest(REGISTRY)
    _forget_dead()
    return generate_latest(shared)


def _forget_dead() -> None:
    """What a process that was killed had just then is not there any more; what it had counted still counts."""
    for pid in {int(path.stem.rpartition("_")[2]) for path in Path(os.environ[FOLDER]).glob("gauge_live*.db")}:
        if not _is_alive(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
