"""Prometheus metrics of predictions, by model and version."""

import os
from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

MULTIPROCESS_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's environment variable: the folder in which the HTTP processes share their metrics."""
MODEL_LABELS = ["model", "version"]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

PREDICTIONS = Counter("candela_predictions_total", "Predicted samples, by outcome.", [*MODEL_LABELS, "outcome"])
BATCH_SIZE = Histogram(
    "candela_prediction_batch_size", "Number of samples per batch.", MODEL_LABELS, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
BATCH_SECONDS = Histogram(
    "candela_prediction_batch_seconds", "Seconds to compute a batch.", MODEL_LABELS, buckets=SECONDS
)
QUEUE_SECONDS = Histogram(
    "candela_prediction_queue_seconds", "Seconds that a request waited in the queue.", MODEL_LABELS, buckets=SECONDS
)
DECODE_SECONDS = Histogram(
    "candela_prediction_decode_seconds", "Seconds to decode the images of a request.", MODEL_LABELS, buckets=SECONDS
)
NUM_IN_FLIGHT = Gauge(
    "candela_predictions_waiting",
    "Accepted samples whose predictions have not been returned yet.",
    MODEL_LABELS,
    multiprocess_mode="livesum",
)
REJECTED = Counter(
    "candela_predictions_refused_total",
    "Rejected samples, by reason: the queue is full (`queue`), the expected wait is too long (`wait`), or the expected "
    "wait exceeds the request's timeout (`deadline`).",
    [*MODEL_LABELS, "reason"],
)
DROPPED = Counter(
    "candela_predictions_dropped_total",
    "Accepted samples that were not computed, because the request was cancelled or timed out.",
    MODEL_LABELS,
)
LOADS = Counter("candela_model_loads_total", "Attempts to load a model, by outcome.", ["outcome"])
MODELS_LOADED = Gauge("candela_models_loaded", "Number of models in memory.", multiprocess_mode="livemax")


@lru_cache(1024)
def get_in_flight_gauge(model: str, version: str) -> Gauge:
    """Return the gauge `NUM_IN_FLIGHT` of one version. It is cached, because `labels()` is slower than setting it."""
    return NUM_IN_FLIGHT.labels(model, version)


@lru_cache(1024)
def get_decode_histogram(model: str, version: str) -> Histogram:
    """Return the histogram `DECODE_SECONDS` of one version. It is cached, because `labels()` is slow."""
    return DECODE_SECONDS.labels(model, version)


def remove_series(model: str, version: str) -> None:
    """Remove the series of a version that was deleted.

    Processes that share their metrics in files cannot remove series; theirs end when all these processes have ended.
    """
    if MULTIPROCESS_DIR in os.environ:
        return
    labels = {"model": model, "version": version}
    for metric in (PREDICTIONS, BATCH_SIZE, BATCH_SECONDS, QUEUE_SECONDS, DECODE_SECONDS, NUM_IN_FLIGHT, REJECTED):
        metric.remove_by_labels(labels)
    DROPPED.remove_by_labels(labels)
    for cached in (get_in_flight_gauge, get_decode_histogram):
        cached.cache_clear()
