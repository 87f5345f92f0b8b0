"""What Prometheus may ask of this process; counters that any part of it may raise."""

from prometheus_client import Counter, Gauge, Histogram

REQUESTS = Counter("candela_http_requests_total", "Requests answered.", ["method", "route", "status"])
LATENCY = Histogram(
    "candela_http_request_seconds",
    "Time from a request's first byte to its answer's last.",
    ["method", "route"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)
JOBS = Gauge("candela_jobs", "Jobs by state; `queued` is the queue's depth.", ["state"])
