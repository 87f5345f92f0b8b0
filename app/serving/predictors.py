"""The seam: whoever has pictures asks here. Behind it, the networks may move to a process of their own."""

import time
from collections.abc import Sequence

from app.serving.batcher import Batcher, Closed
from app.serving.pool import Pool
from app.serving.predictor import Predictor
from app.serving.refs import BundleRef, Outcome, Pixels
from app.serving.tally import Tally
from app.serving.variant_predictor import VariantPredictor
from core.errors import ServiceError
from core.storage import Storage
from models.variants.description import DESCRIPTION


class Predictors:
    """Loads bundles from the store as they are asked for, and answers pictures in batches."""

    def __init__(self, storage: Storage, *, max_batch_size: int, max_waiting: int, max_loaded: int) -> None:
        """Load nothing yet.

        Args:
            storage: where bundles are.
            max_batch_size: pictures.
            max_waiting: pictures that may wait for one network.
            max_loaded: networks in memory.
        """
        self._storage = storage
        self._max_batch_size = max_batch_size
        self._max_waiting = max_waiting
        self._tallies: dict[str, Tally] = {}
        self._pool = Pool(self._open, max_loaded=max_loaded)

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
        """Raise Overloaded where `predict` would, before anything is spent on the pictures."""
        batcher = self._pool.peek(bundle)
        if batcher is not None:
            batcher.check_room(num_pictures)

    async def close(self) -> None:
        """Answer what waits, then stop."""
        await self._pool.close()

    async def _submit(self, bundle: BundleRef, pictures: Sequence[Pixels]) -> list[Outcome]:
        while True:
            batcher = await self._pool.get(bundle)
            try:
                return await batcher.submit(pictures)
            except Closed:  # it left memory between these two lines
                continue

    def _open(self, ref: BundleRef) -> Batcher:
        folder = self._storage.fetch(ref.key, dict(ref.files))
        is_variant = DESCRIPTION in dict(ref.files)
        predictor = VariantPredictor.load(folder) if is_variant else Predictor.load(folder)
        return Batcher(
            predictor,
            model=ref.model,
            max_batch_size=self._max_batch_size,
            max_waiting=self._max_waiting,
            tally=self.tally(ref),
        )
