"""What Prometheus may ask about predictions."""

from prometheus_client import Counter, Gauge, Histogram

PREDICTIONS = Counter("candela_predictions_total", "Pictures computed.", ["model", "outcome"])
BATCH_SIZE = Histogram(
    "candela_prediction_batch_size", "Pictures a batch.", ["model"], buckets=(1, 2, 4, 8, 16, 32, 64, 128)
)
BATCH_SECONDS = Histogram(
    "candela_prediction_batch_seconds",
    "Time of one batch in the network.",
    ["model"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
WAITING = Gauge("candela_predictions_waiting", "Pictures that wait for the network.", ["model"])
REFUSED = Counter("candela_predictions_refused_total", "Pictures refused since too many waited.", ["model"])
LOADS = Counter("candela_model_loads_total", "Bundles loaded from the store.", ["outcome"])
LOADED = Gauge("candela_models_loaded", "Networks in memory.")
