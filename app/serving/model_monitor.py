"""Statistics, admission control and Prometheus metrics of one model."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from app.inference.types import BatchStats
from app.serving import metrics
from app.serving.admission import AdmissionController
from app.serving.backend import BatchListener
from app.serving.observer import PredictionObserver
from app.serving.statistics import InferenceStatistics
from app.serving.types import BundleRef
from core.errors import DeadlineExceeded, Overloaded


class ModelMonitor:
    """Records requests and batches of one model in this process. The monitor is kept when the model is unloaded."""

    def __init__(self, ref: BundleRef, admission: AdmissionController, observer: PredictionObserver | None) -> None:
        self.statistics = InferenceStatistics()
        self.admission = admission
        self.ref = ref
        self._observer = observer

    @contextmanager
    def admit(self, num_images: int, deadline: float | None, priority: int) -> Iterator[None]:
        """Reserve queue capacity for a request while the context is open. Raises Overloaded, DeadlineExceeded."""
        admission, labels = self.admission, (self.ref.model, self.ref.version)
        try:
            admission.check_wait(num_images, deadline, priority)
        except Overloaded as error:
            metrics.REJECTED.labels(*labels, error.extra["reason"]).inc(num_images)
            raise
        except DeadlineExceeded:
            metrics.REJECTED.labels(*labels, "deadline").inc(num_images)
            raise
        gauge = metrics.get_in_flight_gauge(*labels)
        admission.add_in_flight(num_images, priority)
        gauge.set(admission.num_in_flight)  # set before the samples are computed, to include waiting samples
        try:
            yield
        finally:
            admission.remove_in_flight(num_images, priority)
            gauge.set(admission.num_in_flight)

    def record_decode_time(self, seconds: float) -> None:
        """Record how long it took to decode the images of a request."""
        self.statistics.count_decoding(seconds)
        metrics.get_decode_histogram(self.ref.model, self.ref.version).observe(seconds)

    def make_listener(self) -> BatchListener:
        """Return a function that records a batch in the statistics, the admission control and the metrics."""
        ref, statistics, admission, observer = self.ref, self.statistics, self.admission, self._observer
        labels = ref.model, ref.version
        sizes, seconds = metrics.BATCH_SIZE.labels(*labels), metrics.BATCH_SECONDS.labels(*labels)
        failed, computed = (metrics.PREDICTIONS.labels(*labels, outcome) for outcome in ("failed", "answered"))
        dropped, queue_seconds = metrics.DROPPED.labels(*labels), metrics.QUEUE_SECONDS.labels(*labels)

        def record_batch(stats: BatchStats, waited_s: Sequence[float]) -> None:
            admission.set_remote_queue_length(stats.num_queued_elsewhere)
            if stats.size:
                if observer is not None:
                    observer.record_batch(ref, stats.size, stats.seconds)
                statistics.count_batch(stats.size, stats.seconds)
                admission.record_batch(stats.size, stats.seconds)
                sizes.observe(stats.size)
                seconds.observe(stats.seconds)
                computed.inc(max(0, stats.size - stats.num_failed))
            failed.inc(stats.num_failed)
            dropped.inc(stats.num_dropped)
            for request_s in waited_s:
                statistics.count_wait(request_s)
                queue_seconds.observe(request_s)

        return record_batch
