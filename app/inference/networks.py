"""The networks in this process's memory: loaded once for all who ask, each with a queue and a thread of its own."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import NamedTuple

from app.inference.batcher import Batcher, Tell
from app.inference.predictor import Predictor
from app.inference.protocol import Load
from app.inference.variant_predictor import VariantPredictor
from core.errors import Corrupt, PredictionFailed, ServiceError
from models.bundle import BadBundle
from models.variants.description import DESCRIPTION

Holder = object
"""Whoever wants a network to stay."""


class Network(NamedTuple):
    number: int
    batcher: Batcher
    picture_shape: tuple[int, int, int]
    num_bytes: int


class Networks:
    """Used by several threads. A network leaves when the last of its holders lets it go."""

    def __init__(self, device: str, tell: Callable[[int], Tell]) -> None:
        """`tell` makes the listener to the batches of a network, of its number."""
        self._device = device
        self._tell = tell
        self._mutex = threading.Lock()
        self._last_number = 0
        self._of_key: dict[str, Future[Network]] = {}
        self._of_number: dict[int, Network] = {}
        self._holders: dict[int, list[Holder]] = {}

    def load(self, question: Load, holder: Holder) -> Network:
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

    def find(self, number: int) -> Network | None:
        return self._of_number.get(number)

    def holders(self, number: int) -> list[Holder]:
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

    def let_go(self, holder: Holder) -> None:
        """Unload whatever `holder` holds."""
        with self._mutex:
            numbers = [number for number, holders in self._holders.items() for one in holders if one is holder]
        for number in numbers:
            self.unload(number, holder)

    def _load(self, question: Load, loading: "Future[Network]") -> None:
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

    def _open(self, question: Load) -> Network:
        folder = Path(question.folder)
        is_variant = (folder / DESCRIPTION).exists()
        predictor = VariantPredictor.load(folder) if is_variant else Predictor.load(folder, device=self._device)
        with self._mutex:
            self._last_number += 1
            number = self._last_number
        batcher = Batcher(
            predictor,
            model=question.model,
            max_batch_size=question.max_batch_size,
            max_waiting=question.max_waiting,
            tell=self._tell(number),
        )
        return Network(number, batcher, predictor.picture_shape, predictor.num_bytes)


def _told(question: Load, error: BaseException) -> ServiceError:
    if isinstance(error, ServiceError):
        return error
    if isinstance(error, BadBundle):
        return Corrupt(f"The stored files of model {question.model!r} do not make a network.")
    return PredictionFailed(f"Model {question.model!r} could not be loaded.", reason=type(error).__name__)
