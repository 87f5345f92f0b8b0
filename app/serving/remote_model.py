"""A model that runs in an inference process. Implements `app.serving.backend.LoadedModel`."""

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

import numpy as np

from app.inference.protocol import LoadResult, Unload
from app.inference.types import DEFAULT_PRIORITY, BatcherClosed, BatchStats
from app.serving.backend import BatchListener, LoadOptions
from app.serving.client import InferenceClient
from app.serving.types import BundleRef, Outcome, Pixels
from core.errors import Overloaded, PredictionFailed, ServiceError


class RemoteModel:
    """Tracks in-flight samples and rejects excess requests before they reach the inference process."""

    def __init__(
        self,
        client: InferenceClient,
        load_result: LoadResult,
        ref: BundleRef,
        options: LoadOptions,
        listener: BatchListener,
    ) -> None:
        self.num_bytes = load_result.num_bytes
        self.device = load_result.device
        self.latencies = load_result.latencies
        self.num_waiting = 0
        self._client = client
        self._id = load_result.model_id
        self._shape = tuple(load_result.sample_shape)
        self._dtype = np.dtype(load_result.dtype)
        self._model = ref.model
        self._listener = listener
        self._max_waiting = options.max_waiting
        self._is_closing = False
        self._is_idle = asyncio.Event()
        self._is_idle.set()
        client.add_listener(load_result.model_id, listener)

    @property
    def is_lost(self) -> bool:
        """Whether the inference process of the model has ended."""
        return self._client.is_lost

    async def submit(
        self,
        images: Sequence[Pixels],
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes, see `LoadedModel.submit`. Samples of a wrong shape or dtype get an error."""
        if self._is_closing:
            raise BatcherClosed
        errors: dict[int, ServiceError] = {
            index: PredictionFailed(
                f"The sample has dtype {image.dtype} and shape {image.shape}; "
                f"the network expects dtype {self._dtype} and shape {self._shape}."
            )
            for index, image in enumerate(images)
            if image.shape != self._shape or image.dtype != self._dtype
        }
        if not errors:
            return await self._predict(images, deadline, priority, targets) if len(images) else []
        valid = [index for index in range(len(images)) if index not in errors]
        valid_targets = None if targets is None else [targets[index] for index in valid]
        valid_images = [images[index] for index in valid]
        outcomes = await self._predict(valid_images, deadline, priority, valid_targets) if valid else []
        self._listener(BatchStats(0, len(errors), 0.0), ())
        next_outcome = iter(outcomes)
        return [errors[index] if index in errors else next(next_outcome) for index in range(len(images))]

    def close(self) -> None:
        """Unload the model, see `LoadedModel.close`."""
        self._is_closing = True
        with suppress(ServiceError):  # the inference process has ended, so the model is no longer loaded
            self._client.send(Unload(self._id))

    async def join(self) -> None:
        """Wait until all requests are complete."""
        await self._is_idle.wait()
        self._client.remove_listener(self._id)

    async def _predict(
        self, images: Sequence[Pixels], deadline: float | None, priority: int, targets: Sequence[int] | None
    ) -> list[Outcome]:
        self._check_capacity(len(images))
        self.num_waiting += len(images)
        self._is_idle.clear()
        try:
            return await self._client.predict(self._id, images, time.monotonic(), deadline, priority, targets)
        finally:
            self.num_waiting -= len(images)
            if not self.num_waiting:
                self._is_idle.set()

    def _check_capacity(self, num_images: int) -> None:
        if self.num_waiting + num_images > self._max_waiting:
            raise Overloaded(
                f"Too many predictions wait for {self._model!r}.",
                waiting=self.num_waiting,
                max_waiting=self._max_waiting,
                retry_after_s=1,
            )
