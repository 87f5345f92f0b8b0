"""Holds the models of the inference process. Connections share models: each model is loaded once."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app.inference.batcher import BatchCallback, DynamicBatcher
from app.inference.latency_model import LatencyModel
from app.inference.outputs import BatchPredictor, load_predictor
from app.inference.predictor import Predictor
from app.inference.protocol import Load
from app.inference.types import OutputKind
from core.errors import CorruptFile, PredictionFailed, ServiceError
from models.bundle import BadBundle

WARM_UP_S = 2.0
Holder = object
"""A connection that uses a model."""


class ModelInstance(NamedTuple):
    """A loaded model. `latencies` are pairs of batch size and seconds, measured at warm-up."""

    id: int
    batcher: DynamicBatcher
    sample_shape: tuple[int, ...]
    dtype: str
    num_bytes: int
    latencies: list[tuple[int, float]]
    device: str


class ModelRegistry:
    """Loads models, and unloads a model when its last holder releases it. This class is thread-safe."""

    def __init__(self, device: str, make_callback: Callable[[int], BatchCallback]) -> None:
        """Initialize with the device and a function that maps a model id to the model's batch callback."""
        self._device = device
        self._make_callback = make_callback
        self._mutex = threading.Lock()
        self._last_id = 0
        self._futures: dict[tuple[str, OutputKind], Future[ModelInstance]] = {}
        self._models: dict[int, ModelInstance] = {}
        self._holders: dict[int, list[Holder]] = {}

    def load(self, request: Load, holder: Holder) -> ModelInstance:
        """Return the model of a bundle, and register `holder`. If the model is not loaded, load it and warm it up.

        Raises:
            CorruptFile, PredictionFailed: the model cannot be loaded.
        """
        key = request.key, request.output
        with self._mutex:
            future = self._futures.get(key)
            is_first = future is None
            if future is None:
                future = self._futures[key] = Future()
        if is_first:
            self._load_first(request, future)
        model = future.result()
        with self._mutex:
            self._holders.setdefault(model.id, []).append(holder)
        return model

    def find_model(self, model_id: int) -> ModelInstance | None:
        """Return the model with this id, or None if it is not loaded."""
        return self._models.get(model_id)

    def list_holders(self, model_id: int) -> list[Holder]:
        """Return the connections that use a model."""
        with self._mutex:
            return list(self._holders.get(model_id, ()))

    def unload(self, model_id: int, holder: Holder) -> None:
        """Release a model. The last release closes the model's batcher, which still computes its waiting requests."""
        with self._mutex:
            holders = self._holders.get(model_id, [])
            if holder in holders:
                holders.remove(holder)
            if holders or model_id not in self._models:
                return
            model = self._models.pop(model_id)
            self._holders.pop(model_id, None)
            self._futures = {
                key: future
                for key, future in self._futures.items()
                if not future.done() or future.result() is not model
            }
        model.batcher.close()

    def release_all(self, holder: Holder) -> None:
        """Release every model that `holder` uses."""
        with self._mutex:
            model_ids = [model_id for model_id, holders in self._holders.items() for one in holders if one is holder]
        for model_id in model_ids:
            self.unload(model_id, holder)

    def _load_first(self, request: Load, future: "Future[ModelInstance]") -> None:
        try:
            model = self._create_instance(request)
        except BaseException as error:  # every thread that waits for the future must get an error
            with self._mutex:
                self._futures.pop((request.key, request.output), None)
            future.set_exception(_convert_load_error(request, error))
            if not isinstance(error, Exception):
                raise
        else:
            with self._mutex:
                self._models[model.id] = model
            future.set_result(model)

    def _create_instance(self, request: Load) -> ModelInstance:
        predictor = load_predictor(request.output, Path(request.folder), device=self._device)
        options: dict[str, Any] = {}
        if isinstance(predictor, Predictor):
            predictor.choose_precision(request.precision)
            predictor.choose_threads(request.max_batch_size, request.target_latency_s)
            options = {"num_instances": predictor.num_instances, "on_share": predictor.set_num_sharing}
        latencies = measure_latency(predictor, request.max_batch_size)
        with self._mutex:
            self._last_id += 1
            model_id = self._last_id
        batcher = DynamicBatcher(
            predictor,
            model=request.model,
            max_batch_size=request.max_batch_size,
            max_waiting=request.max_waiting,
            on_batch=self._make_callback(model_id),
            latency_model=LatencyModel(latencies),
            **options,
        )
        return ModelInstance(
            model_id,
            batcher,
            predictor.sample_shape,
            predictor.dtype,
            predictor.num_bytes,
            latencies,
            predictor.device,
        )


def measure_latency(predictor: BatchPredictor, max_batch_size: int) -> list[tuple[int, float]]:
    """Measure batches whose sizes are powers of two. Return pairs of batch size and duration in seconds.

    The first batch of each size is a warm-up and is not measured. After `WARM_UP_S` seconds, no further size is
    measured, so a slow network may not be warmed up for large batches.
    """
    sample = np.zeros(predictor.sample_shape, predictor.dtype)
    latencies, warm_up_started_at, size = [], time.monotonic(), 1
    while size <= max_batch_size and (size <= 2 or time.monotonic() - warm_up_started_at < WARM_UP_S):
        predictor([sample] * size)
        started_at = time.monotonic()
        predictor([sample] * size)
        latencies.append((size, time.monotonic() - started_at))
        size *= 2
    return latencies


def _convert_load_error(request: Load, error: BaseException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BadBundle):
        return CorruptFile(f"The stored files of model {request.model!r} are not a valid bundle.")
    return PredictionFailed(f"Model {request.model!r} could not be loaded.", reason=type(error).__name__)
