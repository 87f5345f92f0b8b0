"""Prometheus metrics of predictions, by model and version."""

from prometheus_client import Counter, Gauge, Histogram, disable_created_metrics

MODEL_LABELS = ["model", "version"]
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

disable_created_metrics()  # type: ignore[no-untyped-call]  # in the text format, `…_created` is one more series per series and has no meaning

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
VERSION_METRICS = (
    PREDICTIONS,
    BATCH_SIZE,
    BATCH_SECONDS,
    QUEUE_SECONDS,
    DECODE_SECONDS,
    NUM_IN_FLIGHT,
    REJECTED,
    DROPPED,
)
LOADS = Counter("candela_model_loads_total", "Attempts to load a model, by outcome.", ["outcome"])
MODELS_LOADED = Gauge("candela_models_loaded", "Number of models in memory.", multiprocess_mode="livemax")
