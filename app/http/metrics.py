"""Prometheus metrics of the HTTP service, exported as sums over all HTTP processes."""

import os
from contextlib import suppress
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's environment variable: the folder in which the HTTP processes share their metrics."""

REQUESTS = Counter("candela_http_requests_total", "HTTP requests.", ["method", "route", "status"])
LATENCY = Histogram(
    "candela_http_request_seconds",
    "Seconds from the first byte of a request to the last byte of its response.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
JOBS = Gauge("candela_jobs", "Jobs by state; `queued` is the queue depth.", ["state"], multiprocess_mode="mostrecent")


def render_exposition() -> bytes:
    """Return all metrics in Prometheus' text format, summed over all HTTP processes of the machine."""
    shared = CollectorRegistry()
    try:
        MultiProcessCollector(shared)  # type: ignore[no-untyped-call]
    except ValueError:  # PROMETHEUS_MULTIPROC_DIR is not set, or the folder does not exist
        return generate_latest(REGISTRY)
    _remove_dead_processes()
    return generate_latest(shared)


def _remove_dead_processes() -> None:
    """Remove the live gauges of processes that have ended. The counters of these processes are kept."""
    files = Path(os.environ[MULTIPROCESS_DIR]).glob("gauge_live*.db")
    for pid in {int(path.stem.rpartition("_")[2]) for path in files}:
        if not _is_alive(pid):
            mark_process_dead(pid)  # type: ignore[no-untyped-call]


def _is_alive(pid: int) -> bool:
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False
