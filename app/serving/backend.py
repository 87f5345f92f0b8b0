"""Protocols (interfaces) of the model backend, which loads and runs models. `process_pool.py` implements them."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.inference.protocol import TARGET_LATENCY_S
from app.inference.types import DEFAULT_PRIORITY, BatchStats, ResizeRecipe
from app.serving.types import BundleRef, Outcome, Pixels


class LoadOptions(NamedTuple):
    """Options of a loaded model.

    Attributes:
        max_batch_size: maximum number of samples per batch.
        max_waiting: maximum number of samples that wait for the model; further requests are rejected.
        precision: `fp32`, `bf16` or `auto`.
        target_latency_s: target latency in seconds per sample.
    """

    max_batch_size: int
    max_waiting: int
    precision: str = "fp32"
    target_latency_s: float = TARGET_LATENCY_S


class BatchListener(Protocol):
    """Receives the statistics of each batch of a model."""

    def __call__(self, stats: BatchStats, waited_s: Sequence[float], /) -> None:
        """Handle a computed batch. `waited_s` contains the queue times of the requests that the batch completed."""


class LoadedModel(Protocol):
    """A loaded model. Use it on one event loop only."""

    @property
    def num_waiting(self) -> int:
        """Number of in-flight samples, including samples that are being computed."""

    @property
    def num_bytes(self) -> int:
        """Size of the weights in memory, in bytes."""

    @property
    def device(self) -> str:
        """The device that holds the weights, for example `cpu` or `cuda:0`."""

    @property
    def is_lost(self) -> bool:
        """Whether the inference process of the model has ended."""

    @property
    def latencies(self) -> list[tuple[int, float]]:
        """Pairs of batch size and batch duration in seconds, measured at warm-up."""

    async def submit(
        self,
        images: Sequence[Pixels],
        deadline: float | None = None,
        priority: int = DEFAULT_PRIORITY,
        targets: Sequence[int] | None = None,
    ) -> list[Outcome]:
        """Return the outcomes, in the order of `images`. If the caller is cancelled, drop the samples that wait.

        Args:
            images: samples that have the input shape of the model.
            deadline: monotonic time at which the request times out. Default: none.
            priority: 1 to 3; requests with priority 1 are computed first.
            targets: for heatmaps, the class to explain for each image. Default: the most probable class.

        Raises:
            Overloaded, NotReady, Unavailable: the model cannot accept the request now.
            DeadlineExceeded: the deadline passed before the samples were computed.
            BatcherClosed: the model was unloaded; load it again.
        """

    def close(self) -> None:
        """Accept no more requests. Return at once; waiting requests are still computed."""

    async def join(self) -> None:
        """Wait until all requests are complete."""


class ArchitectureSummary(NamedTuple):
    """The summary of a network that can be built. `options` includes all defaults.

    `single_value_norms` are the names of the batch norms that get one value per channel from each sample. They cannot
    train on a single sample. `cache_obstacle` is the reason why the outputs of the frozen layers cannot be cached; it
    is empty if they can be cached, or if the query has no patterns.
    """

    options: dict[str, Any]
    num_parameters: int
    output_shape: tuple[int, ...]
    parameter_names: tuple[str, ...]
    single_value_norms: tuple[str, ...] = ()
    cache_obstacle: str = ""


class InvalidArchitecture(Exception):
    """Raised if a network cannot be built.

    Attributes:
        errors: pydantic's first `MAX_ERRORS` errors of the options; empty if the options are valid but do not fit the
            samples.
        num_errors: the number of all errors of the options.
        path: path of the option that does not fit; empty if no single option is invalid.
        reason: why the network cannot be built with valid options.
    """

    def __init__(
        self, errors: Sequence[Mapping[str, Any]], path: str = "", reason: str = "", *, num_errors: int = 0
    ) -> None:
        super().__init__(reason or str(errors))
        self.errors = errors
        self.num_errors = max(num_errors, len(errors))
        self.path = path
        self.reason = reason


class ArchitectureEntry(NamedTuple):
    """An architecture of the catalog.

    Attributes:
        options: JSON Schema of the options.
        pretrained: error message if a package that the pretrained weights require is not installed. Empty if all
            packages are installed; None if the architecture has no pretrained weights.
        num_classes: number of classes of the pretrained weights; 0 without them.
        image_shape: (C, H, W) of the images of the pretrained weights; empty without them.
        recipe: how images were resized to evaluate published weights; None if the architecture has none.
    """

    name: str
    summary: str
    source: str | None
    options: dict[str, Any]
    pretrained: str | None = None
    num_classes: int = 0
    image_shape: tuple[int, ...] = ()
    recipe: ResizeRecipe | None = None


class ArchitectureQuery(NamedTuple):
    """An architecture with options, to check whether it can process samples of a shape.

    Attributes:
        options: the options as JSON.
        shape: shape of one sample; (C, H, W) for images. Empty: check only the options.
        cardinalities: number of categories of each column of a table; 0 for numeric columns.
        freeze: patterns of frozen parameters, to check whether the outputs of the frozen layers can be cached. Default:
            this is not checked.
        freeze_bn_stats: whether frozen batch norms use their running statistics without updating them.
    """

    name: str
    options: bytes
    shape: tuple[int, ...]
    num_outputs: int
    cardinalities: tuple[int, ...] = ()
    freeze: tuple[str, ...] = ()
    freeze_bn_stats: bool = True


class ArchitectureCatalog(Protocol):
    """Lists and checks architectures."""

    def list_architectures(self) -> Mapping[str, ArchitectureEntry]:
        """Return the architectures, keyed by name, in the order of registration. Raises Unavailable."""

    async def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        """Check that the network can be built, and return its summary.

        Raises:
            InvalidArchitecture: the network cannot be built.
            Unavailable: the inference process does not respond.
        """


class ModelBackend(ArchitectureCatalog, Protocol):
    """Loads models and runs them."""

    async def start(self, on_ready: Callable[[], None], on_lost: Callable[[], None]) -> None:
        """Start the backend. This method returns before the backend is ready.

        Args:
            on_ready: called when models can be loaded.
            on_lost: called when loaded models are lost.
        """

    async def close(self) -> None:
        """Stop the backend. Waiting requests fail."""

    def check_ready(self) -> None:
        """Raise Unavailable if the backend cannot compute predictions now. Any thread may call this method."""

    def list_devices(self) -> list[dict[str, Any]]:
        """Return the properties of each device, to show to operators. Any thread may call this method."""

    def load_model(self, ref: BundleRef, folder: Path, options: LoadOptions, listener: BatchListener) -> LoadedModel:
        """Load a bundle from a folder and warm up the model. This method blocks, so do not call it on the event loop.

        Raises:
            CorruptFile, PredictionFailed: the bundle cannot be loaded.
            Unavailable: the backend cannot load a bundle now.
        """
