"""Networks in the test's own process: what the inference process is made of, without the process around it."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from app.inference import architectures
from app.inference.batcher import Batcher
from app.inference.model_registry import ModelRegistry
from app.inference.protocol import Error, Load, ValidateArchitecture
from app.inference.types import DEFAULT_LEVEL, BatchStats, Request
from app.serving.backend import Architecture, ArchitectureQuery, ArchitectureSummary, BatchListener, LoadOptions
from app.serving.process_pool import summary_of
from app.serving.types import BundleRef, Outcome, Pixels


class LocalNetwork:
    """A batcher as the pool sees it."""

    def __init__(
        self,
        batcher: Batcher,
        close: Callable[[], None],
        num_bytes: int = 1,
        costs: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.num_bytes = num_bytes
        self.costs = list(costs)
        self.device = "cpu"
        self.is_lost = False
        self.join = batcher.join
        self.close = close
        self._batcher = batcher

    async def submit(
        self, images: Sequence[Pixels], deadline: float | None = None, level: int = DEFAULT_LEVEL
    ) -> list[Outcome]:
        return await self._batcher.submit(images, math.inf if deadline is None else deadline, level)

    @property
    def num_waiting(self) -> int:
        return self._batcher.num_waiting


class LocalNetworks:
    """Implements `app.serving.backend.Networks`."""

    def __init__(self) -> None:
        self._heard: dict[int, BatchListener] = {}
        self._networks = ModelRegistry("cpu", lambda number: lambda facts, done: self._tell(number, facts, done))

    async def start(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        pass

    async def close(self) -> None:
        pass

    def check_ready(self) -> None:
        pass

    def facts(self) -> list[dict[str, Any]]:
        return []

    def open(self, ref: BundleRef, folder: Path, allowed: LoadOptions, heard: BatchListener) -> LocalNetwork:
        network = self._networks.load(Load(0, ref.key, str(folder), ref.model, *allowed), self)
        self._heard[network.number] = heard
        close = lambda: self._networks.unload(network.number, self)  # noqa: E731
        return LocalNetwork(network.batcher, close, network.num_bytes, network.costs)

    def list_architectures(self) -> Mapping[str, Architecture]:
        return {
            one.name: Architecture(one.name, one.summary, one.source, orjson.loads(one.options), one.pretrained)
            for one in architectures.facts()
        }

    def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        answer = architectures.check(ValidateArchitecture(0, *query))
        assert not isinstance(answer, Error)
        return summary_of(answer)

    def _tell(self, number: int, facts: BatchStats, done: list[Request]) -> None:
        self._heard[number](facts, [request.waited_s for request in done])
