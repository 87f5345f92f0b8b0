"""The networks in this process's memory: loaded once for all who ask, each with a queue and threads of its own."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from app.inference.batcher import Batcher, Tell
from app.inference.latency_model import LatencyModel
from app.inference.outputs import PredictorLike, load_predictor
from app.inference.predictor import Predictor
from app.inference.protocol import Load
from core.errors import CorruptFile, PredictionFailed, ServiceError
from models.bundle import BadBundle

WARM_UP_S = 2.0
Holder = object
"""Whoever wants a network to stay."""


class LoadedModel(NamedTuple):
    number: int
    batcher: Batcher
    sample_shape: tuple[int, ...]
    dtype: str
    num_bytes: int
    costs: list[tuple[int, float]]
    device: str


class ModelRegistry:
    """Used by several threads. A network leaves when the last of its holders lets it go."""

    def __init__(self, device: str, tell: Callable[[int], Tell]) -> None:
        """`tell` makes the listener to the batches of a network, of its number."""
        self._device = device
        self._tell = tell
        self._mutex = threading.Lock()
        self._last_number = 0
        self._of_key: dict[str, Future[LoadedModel]] = {}
        self._of_number: dict[int, LoadedModel] = {}
        self._holders: dict[int, list[Holder]] = {}

    def load(self, question: Load, holder: Holder) -> LoadedModel:
        """The network of a bundle, warmed up; `holder` holds it from now on.

        Raises:
            Corrupt, PredictionFailed: it cannot be loaded.
        """
        with self._mutex:
            loading = self._of_key.get(question.key)
            is_first = loading is None
            if loading is None:
                loading = self._of_key[question.key] = Future()
        if is_first:
            self._load(question, loading)
        network = loading.result()
        with self._mutex:
            self._holders.setdefault(network.number, []).append(holder)
        return network

    def find(self, number: int) -> LoadedModel | None:
        return self._of_number.get(number)

    def clients(self, number: int) -> list[Holder]:
        with self._mutex:
            return list(self._holders.get(number, ()))

    def unload(self, number: int, holder: Holder) -> None:
        """What waits is still answered."""
        with self._mutex:
            holders = self._holders.get(number, [])
            if holder in holders:
                holders.remove(holder)
            if holders or number not in self._of_number:
                return
            network = self._of_number.pop(number)
            self._holders.pop(number, None)
            self._of_key = {
                key: one for key, one in self._of_key.items() if not one.done() or one.result() is not network
            }
        network.batcher.close()

    def release_all(self, holder: Holder) -> None:
        """Unload whatever `holder` holds."""
        with self._mutex:
            numbers = [number for number, holders in self._holders.items() for one in holders if one is holder]
        for number in numbers:
            self.unload(number, holder)

    def _load(self, question: Load, loading: "Future[LoadedModel]") -> None:
        try:
            network = self._open(question)
        except BaseException as error:  # a bundle may raise anything; whoever waits for it must hear it
            with self._mutex:
                self._of_key.pop(question.key, None)
            loading.set_exception(_told(question, error))
            if not isinstance(error, Exception):
                raise
        else:
            with self._mutex:
                self._of_number[network.number] = network
            loading.set_result(network)

    def _open(self, question: Load) -> LoadedModel:
        predictor = load_predictor(question.key, Path(question.folder), device=self._device)
        lanes: dict[str, Any] = {}
        if isinstance(predictor, Predictor):
            predictor.choose_precision(question.precision)
            predictor.choose_threads(question.max_batch_size, question.enough_s)
            lanes = {"num_lanes": predictor.num_lanes, "share": predictor.share}
        costs = measure_latency(predictor, question.max_batch_size)
        with self._mutex:
            self._last_number += 1
            number = self._last_number
        batcher = Batcher(
            predictor,
            model=question.model,
            max_batch_size=question.max_batch_size,
            max_waiting=question.max_waiting,
            tell=self._tell(number),
            costs=LatencyModel(costs),
            **lanes,
        )
        return LoadedModel(
            number, batcher, predictor.sample_shape, predictor.dtype, predictor.num_bytes, costs, predictor.device
        )


def measure_latency(predictor: PredictorLike, max_batch_size: int) -> list[tuple[int, float]]:
    """The seconds of a batch of every power of two, twice each: first kernels are chosen and threads started.

    It ends early where a network is slow: larger batches are then met for the first time by requests.
    """
    nothing = np.zeros(predictor.sample_shape, predictor.dtype)
    costs, began_at, size = [], time.monotonic(), 1
    while size <= max_batch_size and (size <= 2 or time.monotonic() - began_at < WARM_UP_S):
        predictor([nothing] * size)
        started_at = time.monotonic()
        predictor([nothing] * size)
        costs.append((size, time.monotonic() - started_at))
        size *= 2
    return costs


def _told(question: Load, error: BaseException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BadBundle):
        return CorruptFile(f"The stored files of model {question.model!r} do not make a network.")
    return PredictionFailed(f"Model {question.model!r} could not be loaded.", reason=type(error).__name__)
