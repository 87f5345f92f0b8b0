"""Protocols of the model backend: what loads and runs models. `process_pool.py` implements it with processes."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.inference.protocol import TARGET_LATENCY_S
from app.inference.types import DEFAULT_PRIORITY, BatchStats
from app.serving.types import BundleRef, Outcome, Pixels


class LoadOptions(NamedTuple):
    """Options of a loaded model.

    Attributes:
        max_batch_size: samples.
        max_waiting: samples that may wait.
        precision: `fp32`, `bf16` or `auto`.
        target_latency_s: seconds per sample below which a model is fast enough.
    """

    max_batch_size: int
    max_waiting: int
    precision: str = "fp32"
    target_latency_s: float = TARGET_LATENCY_S


class BatchListener(Protocol):
    """Receives the statistics of each batch of a model."""

    def __call__(self, stats: BatchStats, waited_s: Sequence[float], /) -> None:
        """Handle a batch; `waited_s` has the queue time of each request that it completed."""


class LoadedModel(Protocol):
    """A model in memory. Used on one event loop."""

    @property
    def num_waiting(self) -> int:
        """Samples in flight, including those that are being computed."""

    @property
    def num_bytes(self) -> int:
        """The memory of the weights."""

    @property
    def device(self) -> str:
        """The device of the weights: `cpu`, `cuda:0`, …"""

    @property
    def is_lost(self) -> bool:
        """Whether its process has ended."""

    @property
    def latencies(self) -> list[tuple[int, float]]:
        """Batch sizes with the seconds that were measured at warm-up."""

    async def submit(
        self,
        images: Sequence[Pixels],
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes of the samples in their order. Samples of cancelled callers are not computed.

        Args:
            images: samples of the model's shape.
            deadline: of the monotonic clock.
            priority: 1 to 3; 1 is computed first.
            targets: for heatmaps, the class of each image; default: the most probable class.

        Raises:
            Overloaded, NotReady, Unavailable: the model cannot take the request now.
            DeadlineExceeded: the deadline passed before the samples were computed.
            BatcherClosed: the model was unloaded; get it again.
        """

    def close(self) -> None:
        """Accept no more requests. Waiting ones are still computed, and `close` does not wait for them."""

    async def join(self) -> None:
        """Wait until every request is complete."""


class ArchitectureSummary(NamedTuple):
    """A network that can be built; `options` include every default."""

    options: dict[str, Any]
    num_parameters: int
    output_shape: tuple[int, ...]
    parameter_names: tuple[str, ...]


class InvalidArchitecture(Exception):
    """The network cannot be built: `errors` of pydantic for its options, or a reason for the option at `path`."""

    def __init__(self, errors: Sequence[Mapping[str, Any]], path: str = "", reason: str = "") -> None:
        super().__init__(reason or str(errors))
        self.errors = errors
        self.path = path
        self.reason = reason


class ArchitectureEntry(NamedTuple):
    """An architecture of the catalog.

    Attributes:
        options: the JSON Schema of its options.
        pretrained: the package that its pretrained weights require; empty if it is installed, None without pretrained
            weights.
    """

    name: str
    summary: str
    source: str | None
    options: dict[str, Any]
    pretrained: str | None = None


class ArchitectureQuery(NamedTuple):
    """An architecture to build for samples of `shape`, (C, H, W) for images.

    Attributes:
        options: the options as JSON.
        cardinalities: the cardinality of each column of a table, 0 for numbers.
    """

    name: str
    options: bytes
    shape: tuple[int, ...]
    num_outputs: int
    cardinalities: tuple[int, ...] = ()


class ArchitectureCatalog(Protocol):
    """Describes and checks architectures, which requires torch. Called by any thread but that of the event loop."""

    def list_architectures(self) -> Mapping[str, ArchitectureEntry]:
        """Return the architectures by name, in the order of the catalog. Raises Unavailable."""

    def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        """Return the summary of the network that would be built.

        Raises:
            InvalidArchitecture: the network cannot be built.
            Unavailable: the inference process does not respond.
        """


class ModelBackend(ArchitectureCatalog, Protocol):
    """Loads models and runs them."""

    async def start(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Start without waiting until it is ready.

        Args:
            on_ready: called when models can be loaded.
            on_lost: called when loaded models were lost.
        """

    async def close(self) -> None:
        """Stop; waiting requests fail."""

    def check_ready(self) -> None:
        """Raise Unavailable if a prediction would raise it. Called by any thread."""

    def list_devices(self) -> list[dict[str, Any]]:
        """Return a description of each device for operators. Called by any thread."""

    def load_model(self, ref: BundleRef, folder: Path, options: LoadOptions, listener: BatchListener) -> LoadedModel:
        """Load a bundle from a folder and warm it up. Called by a thread that may block.

        Raises:
            CorruptFile, PredictionFailed, Unavailable: it cannot be loaded, or not now.
        """
