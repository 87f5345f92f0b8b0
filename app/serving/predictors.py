"""The seam: whoever has pictures asks here. Behind it, networks run in a process of their own."""

import asyncio
import time
from collections.abc import Sequence

import structlog

from app.inference.seam import BatchFacts, Closed
from app.serving import meters
from app.serving.networks import Heard, Loading, Network, Networks
from app.serving.pool import Pool
from app.serving.refs import BundleRef, Outcome, Pixels
from app.serving.tally import Tally
from core.errors import Overloaded, ServiceError
from core.storage import Storage

log = structlog.get_logger(__name__)


class Predictors:
    """Loads bundles from the store as they are asked for, and answers pictures in batches."""

    def __init__(
        self, storage: Storage, networks: Networks, *, max_batch_size: int, max_waiting: int, max_loaded: int
    ) -> None:
        """Load nothing yet.

        Args:
            storage: where bundles are.
            networks: where they run.
            max_batch_size: pictures.
            max_waiting: pictures that may wait for one network.
            max_loaded: networks in memory.
        """
        self.networks = networks
        self._storage = storage
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._tallies: dict[str, Tally] = {}
        self._pool = Pool(self._open, max_loaded=max_loaded)
        self._lost: list[BundleRef] = []
        self._reloading: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Let the networks' process start; a second call does nothing."""
        await self.networks.start(self._when_back, self._when_lost)

    @property
    def max_waiting(self) -> int:
        """The most pictures that one call may bring."""
        return self._max_waiting

    async def predict(self, bundle: BundleRef, pictures: Sequence[Pixels]) -> list[Outcome]:
        """Answer pictures of the bundle's image shape, uint8 (H, W, C), in their order.

        A picture on which the network fails has an error in its place; the others are answered.

        Raises:
            Overloaded, NotReady: not now; `retry_after_s` says when to try again.
            Corrupt, PredictionFailed: the bundle cannot be loaded.
        """
        started_at = time.monotonic()
        succeeded = False
        try:
            outcomes = await self._submit(bundle, pictures)
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

    def tally(self, bundle: BundleRef) -> Tally:
        """What a bundle has done in this process."""
        return self._tallies.setdefault(bundle.key, Tally())

    def check_room(self, bundle: BundleRef, num_pictures: int) -> None:
        """Raise what `predict` would, Overloaded or Unavailable, before anything is spent on the pictures."""
        network = self._pool.peek(bundle)
        if network is None:
            self.networks.check_ready()
            return
        try:
            network.check_room(num_pictures)
        except Overloaded:
            meters.REFUSED.labels(bundle.model).inc(num_pictures)
            raise

    async def close(self) -> None:
        """Answer what waits, then stop."""
        await self._pool.close()
        await self.networks.close()

    async def _submit(self, bundle: BundleRef, pictures: Sequence[Pixels]) -> list[Outcome]:
        while True:
            network = await self._pool.get(bundle)
            try:
                return await network.submit(pictures)
            except Closed:  # it left memory between these two lines
                continue

    def _open(self, ref: BundleRef) -> Network:
        self.networks.check_ready()
        folder = self._storage.fetch(ref.key, dict(ref.files))
        return self.networks.open(ref, folder, Loading(self._max_batch_size, self._max_waiting), self._listener(ref))

    def _listener(self, ref: BundleRef) -> Heard:
        tally = self.tally(ref)

        def heard(facts: BatchFacts, waited_s: Sequence[float]) -> None:
            if facts.size:
                tally.count_batch(facts.size, facts.seconds)
                meters.BATCH_SIZE.labels(ref.model).observe(facts.size)
                meters.BATCH_SECONDS.labels(ref.model).observe(facts.seconds)
            meters.PREDICTIONS.labels(ref.model, "failed").inc(facts.num_failed)
            meters.PREDICTIONS.labels(ref.model, "answered").inc(max(0, facts.size - facts.num_failed))
            for seconds in waited_s:
                tally.count_wait(seconds)

        return heard

    def _when_lost(self) -> None:
        """Networks went with their process: they come back with it."""
        self._lost += self._pool.lose()

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
