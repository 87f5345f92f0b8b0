"""A model backend in the test's process: the classes of the inference process without a second process."""

import math
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from app.inference import architectures
from app.inference.batcher import DynamicBatcher
from app.inference.model_registry import ModelRegistry
from app.inference.protocol import Error, Load, ValidateArchitecture
from app.inference.types import DEFAULT_PRIORITY, BatchStats, Request, TargetedImage
from app.serving.backend import (
    ArchitectureEntry,
    ArchitectureQuery,
    ArchitectureSummary,
    BatchListener,
    LoadOptions,
)
from app.serving.process_pool import parse_architecture_summary
from app.serving.types import BundleRef, Outcome, Pixels


class LocalModel:
    """A batcher with the interface of `LoadedModel`."""

    def __init__(
        self,
        batcher: DynamicBatcher,
        close: Callable[[], None],
        num_bytes: int = 1,
        latencies: Sequence[tuple[int, float]] = (),
    ) -> None:
        self.num_bytes = num_bytes
        self.latencies = list(latencies)
        self.device = "cpu"
        self.is_lost = False
        self.join = batcher.join
        self.close = close
        self._batcher = batcher

    async def submit(
        self,
        images: Sequence[Pixels],
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes of the batcher."""
        samples: Sequence[Any] = images
        if targets is not None:
            samples = [TargetedImage(image, target) for image, target in zip(images, targets, strict=True)]
        return await self._batcher.submit(samples, math.inf if deadline is None else deadline, priority)

    @property
    def num_waiting(self) -> int:
        """Samples that wait for a batch."""
        return self._batcher.num_waiting


class LocalBackend:
    """Implements `app.serving.backend.ModelBackend`."""

    def __init__(self) -> None:
        self._listeners: dict[int, BatchListener] = {}
        self._models = ModelRegistry("cpu", self._make_callback)

    async def start(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Do nothing: it is always ready."""

    async def close(self) -> None:
        """Do nothing."""

    def check_ready(self) -> None:
        """Do nothing: it is always ready."""

    def list_devices(self) -> list[dict[str, Any]]:
        """Return no device."""
        return []

    def load_model(self, ref: BundleRef, folder: Path, options: LoadOptions, listener: BatchListener) -> LocalModel:
        """Load a bundle in this process."""
        model = self._models.load(Load(0, ref.key, ref.output, str(folder), ref.model, *options), self)
        self._listeners[model.id] = listener
        return LocalModel(model.batcher, lambda: self._models.unload(model.id, self), model.num_bytes, model.latencies)

    def list_architectures(self) -> Mapping[str, ArchitectureEntry]:
        """Return the architectures by name."""
        return {
            info.name: ArchitectureEntry(
                info.name,
                info.summary,
                info.source,
                orjson.loads(info.options),
                info.pretrained,
                info.num_classes,
                info.image_shape,
                info.recipe,
            )
            for info in architectures.list_architectures()
        }

    async def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        """Return the summary of the network that would be built."""
        response = architectures.validate_architecture(ValidateArchitecture(0, *query))
        assert not isinstance(response, Error)
        return parse_architecture_summary(response)

    def _make_callback(self, model_id: int) -> Callable[[BatchStats, list[Request]], None]:
        def on_batch(stats: BatchStats, requests: list[Request]) -> None:
            self._listeners[model_id](stats, [request.waited_s for request in requests])

        return on_batch


class FakeLoader:
    """Loads any bundle. It can be blocked, or fail."""

    def __init__(self) -> None:
        self.keys: list[str] = []
        self.num_bytes: dict[str, int] = {}
        self.failure: Exception | None = None
        self.on_load: Callable[[BundleRef], object] = lambda _: None
        self.unblocked = threading.Event()
        self.unblocked.set()

    def fetch(self, ref: BundleRef) -> tuple[Path, int]:
        return Path(ref.key), self.num_bytes.get(ref.key, 1)

    def load(self, ref: BundleRef, folder: Path) -> LocalModel:
        assert folder == Path(ref.key)
        self.keys.append(ref.key)
        self.on_load(ref)
        assert self.unblocked.wait(30)
        if self.failure is not None:
            raise self.failure
        batcher = DynamicBatcher(
            lambda samples: np.zeros((len(samples), 1), np.float32), model=ref.model, max_batch_size=2, max_waiting=4
        )
        return LocalModel(batcher, batcher.close, self.num_bytes.get(ref.key, 1))
