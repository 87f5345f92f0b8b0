"""Prometheus metrics of the HTTP service, exported as sums over all HTTP processes."""

import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from app.serving.version_series import MULTIPROCESS_DIR, SeriesFilter, get_shared_folder

REQUESTS = Counter("candela_http_requests_total", "HTTP requests.", ["method", "route", "status"])
LATENCY = Histogram(
    "candela_http_request_seconds",
    "Seconds from the first byte of a request to the last byte of its response.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
JOBS = Gauge("candela_jobs", "Jobs by state; `queued` is the queue depth.", ["state"], multiprocess_mode="mostrecent")

WORKER_CPU_PERCENT = Gauge(
    "candela_worker_cpu_percent",
    "Processor time of the running trainings of a worker, in percent of one core.",
    ["worker"],
    multiprocess_mode="mostrecent",
)
WORKER_MEMORY_MIB = Gauge(
    "candela_worker_memory_mib",
    "Resident memory of the running trainings of a worker, in MiB.",
    ["worker"],
    multiprocess_mode="mostrecent",
)
WORKER_GPU_MEMORY_MIB = Gauge(
    "candela_worker_gpu_memory_mib",
    "GPU memory of the running trainings of a worker, in MiB.",
    ["worker"],
    multiprocess_mode="mostrecent",
)
WORKER_IMAGES_PER_S = Gauge(
    "candela_worker_images_per_second",
    "Training samples per second of a worker.",
    ["worker"],
    multiprocess_mode="mostrecent",
)
WORKER_USAGE = {
    "cpu_percent": WORKER_CPU_PERCENT,
    "memory_mib": WORKER_MEMORY_MIB,
    "gpu_memory_mib": WORKER_GPU_MEMORY_MIB,
    "images_per_s": WORKER_IMAGES_PER_S,
}
"""Gauges of the resource usage of workers, by the names of the series of jobs."""
_seen_workers: set[str] = set()


def set_worker_usage(usage: Mapping[str, Mapping[str, float]]) -> None:
    """Set the gauges of all workers: {worker id: {name: value}}. Workers without running trainings get 0."""
    _seen_workers.update(usage)
    for worker in _seen_workers:
        for name, gauge in WORKER_USAGE.items():
            gauge.labels(worker).set(usage.get(worker, {}).get(name, 0.0))


class _SharedMetrics(Collector):
    """The metrics of all HTTP processes, without the series of model versions that have ended."""

    def __init__(self, versions_dir: Path) -> None:
        """Initialize with the folder of the visible versions. Raises ValueError if no metrics are shared."""
        self._versions_dir = versions_dir
        self._collector = MultiProcessCollector(None)  # type: ignore[no-untyped-call]

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics with their visible series."""
        series_filter = SeriesFilter(self._versions_dir)
        for metric in self._collector.collect():  # type: ignore[no-untyped-call]
            metric.samples = [sample for sample in metric.samples if series_filter.is_visible(sample.labels)]
            yield metric


def render_exposition() -> bytes:
    """Return all metrics in Prometheus' text format, summed over all HTTP processes of the machine."""
    versions_dir, shared = get_shared_folder(), CollectorRegistry(auto_describe=False)
    if versions_dir is None or not versions_dir.parent.is_dir():
        return generate_latest(REGISTRY)
    _remove_dead_processes()
    shared.register(_SharedMetrics(versions_dir))
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
