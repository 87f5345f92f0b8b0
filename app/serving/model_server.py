"""The model server: loads bundles from the store on demand and predicts batches with a model backend."""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager

from app.inference.protocol import TARGET_LATENCY_S
from app.inference.types import DEFAULT_PRIORITY, OUTPUT_KINDS, BatcherClosed
from app.serving.admission import AdmissionController
from app.serving.backend import LoadOptions, ModelBackend
from app.serving.bundle_loader import StoredBundleLoader
from app.serving.model_cache import ModelCache
from app.serving.model_monitors import ModelMonitors
from app.serving.model_reloader import ModelReloader
from app.serving.observer import PredictionObserver
from app.serving.statistics import InferenceStatistics
from app.serving.types import BundleRef, Outcome, Pixels
from app.serving.version_series import VersionSeriesPool, get_shared_folder
from core.errors import ServiceError
from core.storage import Storage


class ModelServer:
    """Predicts samples with the models of the store. Use it on one event loop only."""

    def __init__(
        self,
        storage: Storage,
        backend: ModelBackend,
        *,
        max_batch_size: int,
        max_waiting: int,
        max_loaded: int,
        max_wait_s: float = 10.0,
        max_bytes: int | None = None,
        precision: str = "fp32",
        num_http_processes: int = 1,
        max_metric_models: int = 20,
        observer: PredictionObserver | None = None,
    ) -> None:
        """Create the server without loading a model.

        Args:
            storage: the store of the bundles.
            backend: runs the models.
            max_batch_size: maximum number of samples per batch.
            max_waiting: maximum number of samples that wait for one model.
            max_loaded: maximum number of models that this process has in memory.
            max_wait_s: maximum wait of a request in seconds. Requests are rejected if their expected wait exceeds
                `SAFETY_FACTOR * max_wait_s`. Default: 10.
            max_bytes: maximum total size of the models in memory, in bytes, of all API processes. Default: no limit.
            precision: `fp32`, `bf16` or `auto`. `auto` selects bf16 if it is faster and its scores agree with fp32.
            num_http_processes: number of API processes that share the models.
            max_metric_models: maximum number of model versions that have separate Prometheus series.
            observer: observes predictions and batches, for tracing.
        """
        self.backend = backend
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._observer = observer
        series_pool = VersionSeriesPool(max_metric_models, get_shared_folder())
        self._monitors = ModelMonitors(self._make_admission, series_pool, observer)
        share_bytes = None if max_bytes is None else max_bytes // num_http_processes
        options = LoadOptions(max_batch_size, max_waiting, precision, TARGET_LATENCY_S / num_http_processes)
        loader = StoredBundleLoader(storage, backend, self._monitors, options)
        self._cache = ModelCache(loader, max_loaded=max_loaded, max_bytes=share_bytes)
        self._reloader = ModelReloader(self._cache)

    async def start(self) -> None:
        """Start the backend. A second call has no effect."""
        await self.backend.start(self._reloader.reload_models, self._reloader.remove_lost_models)

    @property
    def max_waiting(self) -> int:
        """The maximum number of samples that wait for one model. No request may have more samples."""
        return self._max_waiting

    async def predict(
        self,
        bundle: BundleRef,
        images: Sequence[Pixels],
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcome of each sample, in the order of `images`: the scores, or an error if the sample failed.

        Args:
            bundle: the model and the kind of output.
            images: samples that have the input shape of the model, for example uint8 (H, W, C).
            deadline: monotonic time at which the request times out. Default: none.
            priority: 1 to 3; requests with priority 1 are computed first.
            targets: for heatmaps, the class to explain for each image. Default: the most probable class.

        Raises:
            Overloaded, NotReady, Unavailable: the samples cannot be computed now; retry after
                `retry_after_s` seconds.
            DeadlineExceeded: the deadline passed before the samples were computed.
            CorruptFile, PredictionFailed: the bundle cannot be loaded.
        """
        started_at = time.monotonic()
        succeeded = False
        try:
            outcomes = await self._submit(bundle, images, deadline, priority, targets)
            succeeded = not any(isinstance(outcome, ServiceError) for outcome in outcomes)
            return outcomes
        finally:
            self._monitors.get(bundle).statistics.count_request(time.monotonic() - started_at, succeeded=succeeded)

    async def load(self, bundle: BundleRef) -> None:
        """Load a model and warm it up. Raises the errors of `predict` if the model cannot be loaded."""
        await self._cache.get(bundle)

    def pin(self, name: str, bundle: BundleRef | None) -> None:
        """Keep a model in memory once it is loaded, instead of the one pinned before by this name; see `ModelCache`."""
        self._cache.pin(name, bundle)

    def unload_model(self, name: str) -> None:
        """Unload all versions of a model, with their variants and all outputs that were loaded.

        Waiting requests are still computed; a new request loads the model again.
        """
        self._cache.unload_model(name)

    def list_bundles(self) -> list[BundleRef]:
        """Return the models that this process has loaded or used recently."""
        return self._monitors.list_bundles()

    def forget(self, bundle: BundleRef) -> None:
        """Unload a deleted model, and remove its statistics and metrics when no request uses them any more."""
        self._cache.unload(bundle)
        self._monitors.remove(bundle)

    async def expire_unused(self) -> None:
        """Remove the statistics of models that are not in memory and were not used recently; see `ModelMonitors`."""
        self._monitors.expire(self.is_loaded)

    def is_loaded(self, bundle: BundleRef) -> bool:
        """Return whether a model is in memory."""
        return self._cache.peek(bundle) is not None

    def get_memory_bytes(self, bundle: BundleRef) -> dict[str, int]:
        """Return the total size in bytes of the loaded models of a bundle (one per kind of output), keyed by device."""
        sizes: dict[str, int] = {}
        for output in OUTPUT_KINDS:
            model = self._cache.peek(bundle.with_output(output))
            if model is not None:
                sizes[model.device] = sizes.get(model.device, 0) + model.num_bytes
        return sizes

    def get_statistics(self, bundle: BundleRef) -> InferenceStatistics:
        """Return the statistics of a model in this process, empty if the model was not used recently."""
        monitor = self._monitors.find(bundle)
        return InferenceStatistics() if monitor is None else monitor.statistics

    def admit(
        self, bundle: BundleRef, num_images: int, deadline: float | None = None, priority: int = DEFAULT_PRIORITY
    ) -> AbstractContextManager[None]:
        """Reserve queue capacity for a request while the context is open. Call this before decoding the images.

        Raises:
            Overloaded: the queue is full, or the expected wait is too long.
            Unavailable: the model is not loaded, and the backend is not ready.
            DeadlineExceeded: the expected wait ends after the deadline.
        """
        if self._cache.peek(bundle) is None:
            self.backend.check_ready()
        return self._monitors.get(bundle).admit(num_images, deadline, priority)

    def record_decode_time(self, bundle: BundleRef, seconds: float) -> None:
        """Record how long it took to decode the images of a request."""
        self._monitors.get(bundle).record_decode_time(seconds)

    async def close(self) -> None:
        """Complete waiting requests, then stop the backend."""
        await self._cache.close()
        await self.backend.close()

    async def _submit(
        self,
        bundle: BundleRef,
        images: Sequence[Pixels],
        deadline: float | None,
        priority: int,
        targets: Sequence[int] | None,
    ) -> list[Outcome]:
        while True:
            model = await self._cache.get(bundle)
            try:
                if self._observer is None:
                    return await model.submit(images, deadline, priority, targets)
                with self._observer.observe_prediction(bundle, len(images)):
                    return await model.submit(images, deadline, priority, targets)
            except BatcherClosed:  # the model was unloaded after `get` returned it: load it again
                continue

    def _make_admission(self, model: str) -> AdmissionController:
        return AdmissionController(
            model, max_batch_size=self._max_batch_size, max_waiting=self._max_waiting, max_wait_s=self._max_wait_s
        )
