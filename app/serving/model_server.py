"""The seam: whoever has pictures asks here. Behind it, networks run in a process of their own."""

import asyncio
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

import structlog

from app.inference.protocol import TARGET_LATENCY_S
from app.inference.types import DEFAULT_LEVEL, VIEWS, BatcherClosed, BatchStats, split_key
from app.serving import metrics
from app.serving.admission import AdmissionController
from app.serving.backend import BatchListener, LoadedModel, LoadOptions, ModelBackend
from app.serving.model_cache import ModelCache
from app.serving.observer import PredictionObserver
from app.serving.statistics import InferenceStatistics
from app.serving.types import BundleRef, Outcome, Pixels
from core.errors import DeadlineExceeded, Overloaded, ServiceError
from core.storage import Storage

log = structlog.get_logger(__name__)


class ModelServer:
    """Loads bundles from the store as they are asked for, and answers pictures in batches."""

    def __init__(
        self,
        storage: Storage,
        networks: ModelBackend,
        *,
        max_batch_size: int,
        max_waiting: int,
        max_loaded: int,
        max_wait_s: float = 10.0,
        max_bytes: int | None = None,
        pinned: Collection[str] = (),
        precision: str = "fp32",
        num_askers: int = 1,
        observer: PredictionObserver | None = None,
    ) -> None:
        """Load nothing yet.

        Args:
            storage: where bundles are.
            networks: where they run.
            max_batch_size: pictures.
            max_waiting: pictures that may wait for one network.
            max_loaded: networks in memory.
            max_bytes: of all their weights.
            pinned: models that stay in memory once they are there.
            precision: `fp32`, `bf16`, or `auto`: bf16 where it is quicker and says the same.
            num_askers: processes like this one that share the networks.
            observer: observes predictions and batches, for tracing.
            max_wait_s: who would wait longer for an answer is refused.
        """
        self.networks = networks
        self._storage = storage
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._observer = observer
        self._tallies: dict[str, InferenceStatistics] = {}
        self._admissions: dict[str, AdmissionController] = {}
        self._pool = ModelCache(self._open, max_loaded=max_loaded, max_bytes=max_bytes, pinned=pinned)
        self._allowed = LoadOptions(max_batch_size, max_waiting, precision, TARGET_LATENCY_S / num_askers)
        self._lost: list[BundleRef] = []
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Let the networks' process start; a second call does nothing."""
        await self.networks.start(self._when_back, self._when_lost)

    @property
    def max_waiting(self) -> int:
        """The most pictures that one call may bring."""
        return self._max_waiting

    async def predict(
        self,
        bundle: BundleRef,
        images: Sequence[Pixels],
        deadline: float | None = None,
        level: int = DEFAULT_LEVEL,
    ) -> list[Outcome]:
        """Answer pictures of the bundle's image shape, uint8 (H, W, C), in their order; a lower `level` goes first.

        A picture on which the network fails has an error in its place; the others are answered.

        Raises:
            Overloaded, NotReady, Unavailable: not now; `retry_after_s` says when to try again.
            DeadlineExceeded: the deadline, of the monotonic clock, came before their turn.
            Corrupt, PredictionFailed: the bundle cannot be loaded.
        """
        started_at = time.monotonic()
        succeeded = False
        try:
            outcomes = await self._submit(bundle, images, deadline, level)
            succeeded = not any(isinstance(outcome, ServiceError) for outcome in outcomes)
            return outcomes
        finally:
            self.tally(bundle).count_request(time.monotonic() - started_at, succeeded=succeeded)

    async def load(self, bundle: BundleRef) -> None:
        """Have a bundle in memory and warm. Raises what `predict` does."""
        await self._pool.get(bundle)

    def unload(self, bundle: BundleRef) -> None:
        """Let a bundle go; what waits for it is still answered, and who asks again loads it again."""
        self._pool.drop(bundle)

    def is_loaded(self, bundle: BundleRef) -> bool:
        """Whether a bundle would answer at once."""
        return self._pool.peek(bundle) is not None

    def num_bytes(self, bundle: BundleRef) -> dict[str, int]:
        """What a bundle takes in memory, by device; what was loaded to ask it for something else is part of it."""
        taken: dict[str, int] = {}
        for view in VIEWS:
            network = self._pool.peek(bundle.with_output(view))
            if network is not None:
                taken[network.device] = taken.get(network.device, 0) + network.num_bytes
        return taken

    def tally(self, bundle: BundleRef) -> InferenceStatistics:
        """What a bundle has done in this process."""
        tally = self._tallies.get(bundle.key)
        if tally is None:
            tally = self._tallies[bundle.key] = InferenceStatistics()
        return tally

    @contextmanager
    def admit(
        self, bundle: BundleRef, num_images: int, deadline: float | None = None, level: int = DEFAULT_LEVEL
    ) -> Iterator[None]:
        """While it lasts, so many pictures are on their way to an answer, counted before anything is spent on them.

        Raises:
            Overloaded, Unavailable: they would not be answered, or not within what is promised.
            DeadlineExceeded: they would not be answered in time.
        """
        if self._pool.peek(bundle) is None:
            self.networks.check_ready()
        admission, whose = self._admission(bundle), (bundle.model, bundle.version)
        try:
            admission.check(num_images, deadline, level)
        except Overloaded as error:
            metrics.REFUSED.labels(*whose, error.facts["reason"]).inc(num_images)
            raise
        except DeadlineExceeded:
            metrics.REFUSED.labels(*whose, "deadline").inc(num_images)
            raise
        meter = metrics.ahead(*whose)
        admission.enter(num_images, level)
        meter.set(admission.num_in_flight)  # also now: who asks while the networks stand still must see what waits
        try:
            yield
        finally:
            admission.leave(num_images, level)
            meter.set(admission.num_in_flight)

    def record_decode_time(self, bundle: BundleRef, seconds: float) -> None:
        """Pictures for it were decoded in so long."""
        self.tally(bundle).count_decoding(seconds)
        metrics.decode_seconds(bundle.model, bundle.version).observe(seconds)

    async def close(self) -> None:
        """Answer what waits, then stop."""
        await self._pool.close()
        await self.networks.close()

    async def _submit(
        self, bundle: BundleRef, images: Sequence[Pixels], deadline: float | None, level: int
    ) -> list[Outcome]:
        while True:
            network = await self._pool.get(bundle)
            try:
                if self._observer is None:
                    return await network.submit(images, deadline, level)
                with self._observer.observe_prediction(bundle, len(images)):
                    return await network.submit(images, deadline, level)
            except BatcherClosed:  # it left memory between these two lines
                continue

    def _open(self, ref: BundleRef) -> LoadedModel:
        self.networks.check_ready()
        folder = self._storage.fetch(split_key(ref.key)[0], dict(ref.files))
        network = self.networks.open(ref, folder, self._allowed, self._listener(ref))
        self._admission(ref).set_latency_model(network.costs)
        return network

    def _admission(self, ref: BundleRef) -> AdmissionController:
        known = self._admissions.get(ref.key)
        if known is None:
            known = self._admissions[ref.key] = AdmissionController(
                ref.model,
                max_batch_size=self._max_batch_size,
                max_waiting=self._max_waiting,
                max_wait_s=self._max_wait_s,
            )
        return known

    def _listener(self, ref: BundleRef) -> BatchListener:
        tally, admission, whose = self.tally(ref), self._admission(ref), (ref.model, ref.version)
        sizes, seconds = metrics.BATCH_SIZE.labels(*whose), metrics.BATCH_SECONDS.labels(*whose)
        failed, answered = (metrics.PREDICTIONS.labels(*whose, outcome) for outcome in ("failed", "answered"))
        dropped, waited = metrics.DROPPED.labels(*whose), metrics.QUEUE_SECONDS.labels(*whose)
        observer = self._observer

        def heard(facts: BatchStats, waited_s: Sequence[float]) -> None:
            admission.set_remote_queue_length(facts.num_others)
            if facts.size:
                if observer is not None:
                    observer.record_batch(ref, facts.size, facts.seconds)
                tally.count_batch(facts.size, facts.seconds)
                admission.learn(facts.size, facts.seconds)
                sizes.observe(facts.size)
                seconds.observe(facts.seconds)
                answered.inc(max(0, facts.size - facts.num_failed))
            failed.inc(facts.num_failed)
            dropped.inc(facts.num_dropped)
            for each in waited_s:
                tally.count_wait(each)
                waited.observe(each)

        return heard

    def _when_lost(self) -> None:
        """Networks went with their process: they come back with it."""
        self._lost += self._pool.invalidate_lost()

    def _when_back(self) -> None:
        lost, self._lost = self._lost, []
        for ref in lost:
            task = asyncio.create_task(self._reload(ref))
            self._reloading.add(task)
            task.add_done_callback(self._reloading.discard)

    async def _reload(self, ref: BundleRef) -> None:
        try:
            await self._pool.get(ref)
        except ServiceError as error:
            log.warning("model.not_loaded_again", model=ref.model, key=ref.key, error=error.detail)
