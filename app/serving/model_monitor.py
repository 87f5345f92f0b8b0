"""Statistics, admission control and Prometheus metrics of one model."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from app.inference.types import BatchStats
from app.serving.admission import AdmissionController
from app.serving.backend import BatchListener
from app.serving.observer import PredictionObserver
from app.serving.statistics import InferenceStatistics
from app.serving.types import BundleRef
from app.serving.version_series import VersionSeries
from core.errors import DeadlineExceeded, Overloaded


class ModelMonitor:
    """Records requests and batches of one model in this process.

    Attributes:
        series: the Prometheus series that record them. They can be replaced at any time.
        used_at: monotonic time of the last request.
    """

    def __init__(
        self,
        ref: BundleRef,
        admission: AdmissionController,
        series: VersionSeries,
        observer: PredictionObserver | None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.statistics = InferenceStatistics()
        self.admission = admission
        self.ref = ref
        self.series = series
        self.used_at = clock()
        self._observer = observer
        self._clock = clock

    @property
    def labels(self) -> tuple[str, str]:
        """The model and the version, which label the metrics."""
        return self.ref.model, self.ref.version

    @contextmanager
    def admit(self, num_images: int, deadline: float | None, priority: int) -> Iterator[None]:
        """Reserve queue capacity for a request while the context is open. Raises Overloaded, DeadlineExceeded."""
        admission, series = self.admission, self.series
        self.used_at = self._clock()
        try:
            admission.check_wait(num_images, deadline, priority)
        except Overloaded as error:
            series.count_rejected(error.extra["reason"], num_images)
            raise
        except DeadlineExceeded:
            series.count_rejected("deadline", num_images)
            raise
        admission.add_in_flight(num_images, priority)
        series.num_in_flight.inc(num_images)  # before the samples are computed, to include waiting samples
        try:
            yield
        finally:
            admission.remove_in_flight(num_images, priority)
            series.num_in_flight.dec(num_images)

    def record_decode_time(self, seconds: float) -> None:
        """Record how long it took to decode the images of a request."""
        self.statistics.count_decoding(seconds)
        self.series.decode_seconds.observe(seconds)

    def make_listener(self) -> BatchListener:
        """Return a function that records a batch in the statistics, the admission control and the metrics."""
        ref, statistics, admission, observer = self.ref, self.statistics, self.admission, self._observer

        def record_batch(stats: BatchStats, waited_s: Sequence[float]) -> None:
            series = self.series
            admission.set_remote_queue_length(stats.num_queued_elsewhere)
            if stats.size:
                if observer is not None:
                    observer.record_batch(ref, stats.size, stats.seconds)
                statistics.count_batch(stats.size, stats.seconds)
                admission.record_batch(stats.size, stats.seconds)
                series.batch_sizes.observe(stats.size)
                series.batch_seconds.observe(stats.seconds)
                series.computed.inc(max(0, stats.size - stats.num_failed))
            series.failed.inc(stats.num_failed)
            series.dropped.inc(stats.num_dropped)
            for request_s in waited_s:
                statistics.count_wait(request_s)
                series.queue_seconds.observe(request_s)

        return record_batch
