"""A network that runs in another process, as the pool sees it."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from app.inference.protocol import Loaded, Unload
from app.inference.types import DEFAULT_LEVEL, BatcherClosed, BatchStats
from app.serving.backend import BatchListener, LoadOptions
from app.serving.client import InferenceClient
from app.serving.types import BundleRef, Outcome, Pixels
from core.errors import Overloaded, PredictionFailed, ServiceError


class RemoteModel:
    """Counts what it has sent and not heard of: that many are refused at the door who would be refused there."""

    def __init__(
        self, link: InferenceClient, loaded: Loaded, ref: BundleRef, allowed: LoadOptions, heard: BatchListener
    ) -> None:
        self.num_bytes = loaded.num_bytes
        self.device = loaded.device
        self.num_waiting = 0
        self._link = link
        self._number = loaded.network
        self.costs = loaded.costs
        self._shape = tuple(loaded.sample_shape)
        self._dtype = np.dtype(loaded.dtype)
        self._model = ref.model
        self._heard = heard
        self._max_waiting = allowed.max_waiting
        self._is_closing = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        link.listen(loaded.network, heard)

    @property
    def is_lost(self) -> bool:
        """Whether its process has ended."""
        return self._link.is_lost

    async def submit(
        self, images: Sequence[Pixels], deadline: float | None = None, level: int = DEFAULT_LEVEL
    ) -> list[Outcome]:
        if self._is_closing:
            raise BatcherClosed
        odd: dict[int, ServiceError] = {
            place: PredictionFailed(
                f"The sample is {image.dtype} {image.shape}; the network takes {self._dtype} {self._shape}."
            )
            for place, image in enumerate(images)
            if image.shape != self._shape or image.dtype != self._dtype
        }
        fitting = [picture for place, picture in enumerate(images) if place not in odd] if odd else images
        outcomes = await self._score(fitting, deadline, level) if len(fitting) else []
        if not odd:
            return outcomes
        self._heard(BatchStats(0, len(odd), 0.0), ())
        left = iter(outcomes)
        return [odd[place] if place in odd else next(left) for place in range(len(images))]

    def close(self) -> None:
        self._is_closing = True
        with suppress(ServiceError):  # its process has gone, and it with it
            self._link.send(Unload(self._number))

    async def join(self) -> None:
        await self._is_idle.wait()
        self._link.forget(self._number)

    async def _score(self, images: Sequence[Pixels], deadline: float | None, level: int) -> list[Outcome]:
        self._check_room(len(images))
        self.num_waiting += len(images)
        self._is_idle.clear()
        try:
            return await self._link.predict(self._number, images, time.monotonic(), deadline, level)
        finally:
            self.num_waiting -= len(images)
            if not self.num_waiting:
                self._is_idle.set()

    def _check_room(self, num_images: int) -> None:
        if self.num_waiting + num_images > self._max_waiting:
            raise Overloaded(
                f"Too many predictions wait for {self._model!r}.",
                waiting=self.num_waiting,
                max_waiting=self._max_waiting,
                retry_after_s=1,
            )
