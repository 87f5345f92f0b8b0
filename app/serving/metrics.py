"""What Prometheus may ask about predictions, by model and version."""

from functools import lru_cache

from prometheus_client import Counter, Gauge, Histogram

WHOSE = ["model", "version"]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

PREDICTIONS = Counter("candela_predictions_total", "Pictures computed.", [*WHOSE, "outcome"])
BATCH_SIZE = Histogram(
    "candela_prediction_batch_size", "Pictures a batch.", WHOSE, buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
BATCH_SECONDS = Histogram(
    "candela_prediction_batch_seconds", "Time of one batch in the network.", WHOSE, buckets=SECONDS
)
QUEUE_SECONDS = Histogram(
    "candela_prediction_queue_seconds", "Time that a request waited for the network.", WHOSE, buckets=SECONDS
)
DECODE_SECONDS = Histogram(
    "candela_prediction_decode_seconds", "Time to decode the pictures of a request.", WHOSE, buckets=SECONDS
)
AHEAD = Gauge(
    "candela_predictions_waiting", "Pictures between the door and their answer.", WHOSE, multiprocess_mode="livesum"
)
REFUSED = Counter(
    "candela_predictions_refused_total",
    "Pictures refused: too many wait (`queue`), it would take too long (`wait`), or longer than asked (`deadline`).",
    [*WHOSE, "reason"],
)
DROPPED = Counter(
    "candela_predictions_dropped_total", "Pictures let in and not computed, since nobody waited any more.", WHOSE
)
LOADS = Counter("candela_model_loads_total", "Bundles loaded from the store.", ["outcome"])
LOADED = Gauge("candela_models_loaded", "Networks in memory.", multiprocess_mode="livemax")


@lru_cache(1024)
def ahead(model: str, version: str) -> Gauge:
    """`AHEAD` of one version: looking it up costs more than setting it."""
    return AHEAD.labels(model, version)


@lru_cache(1024)
def decode_seconds(model: str, version: str) -> Histogram:
    """`DECODE_SECONDS` of one version."""
    return DECODE_SECONDS.labels(model, version)
