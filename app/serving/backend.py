"""The seam to where networks run: what the pool and the services ask; the process behind it is in `process.py`."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from app.inference.protocol import TARGET_LATENCY_S
from app.inference.types import DEFAULT_LEVEL, BatchStats
from app.serving.types import BundleRef, Outcome, Pixels


class LoadOptions(NamedTuple):
    """What a network that is loaded is allowed: pictures a batch, pictures that wait, how precise it must be.

    `enough_s` is how quickly a picture need be computed at most, since nobody asks more quickly.
    """

    max_batch_size: int
    max_waiting: int
    precision: str = "fp32"
    enough_s: float = TARGET_LATENCY_S


class BatchListener(Protocol):
    """Hears of every batch of a network, with the seconds that each caller who is answered by it has waited."""

    def __call__(self, facts: BatchStats, waited_s: Sequence[float], /) -> None: ...


class LoadedModel(Protocol):
    """A network in memory. Used on one event loop."""

    @property
    def num_waiting(self) -> int:
        """Pictures, also those that are being computed."""

    @property
    def num_bytes(self) -> int:
        """What it takes."""

    @property
    def device(self) -> str:
        """In whose memory: `cpu`, `cuda:0`, …"""

    @property
    def is_lost(self) -> bool:
        """Whether it has gone with its process."""

    @property
    def costs(self) -> list[tuple[int, float]]:
        """Sizes of batches with the seconds that they took when it was warmed up."""

    async def submit(
        self, images: Sequence[Pixels], deadline: float | None = None, level: int = DEFAULT_LEVEL
    ) -> list[Outcome]:
        """The pictures' answers in their order; callers who are cancelled, or late, cost no computing.

        A lower `level` is computed first.

        Raises:
            Overloaded, NotReady, Unavailable: not now.
            DeadlineExceeded: the deadline, of the monotonic clock, came before their turn.
            Closed: it has left; ask for it again.
        """

    def close(self) -> None:
        """Take nothing more; what waits is still answered. It does not wait for that."""

    async def join(self) -> None:
        """Wait until everything is answered."""


class ArchitectureSummary(NamedTuple):
    """What an architecture comes to: `options` with every default filled in."""

    options: dict[str, Any]
    num_parameters: int
    output_shape: tuple[int, ...]
    parameter_names: tuple[str, ...]


class InvalidArchitecture(Exception):
    """No network comes of it: `errors` are pydantic's, of its options; else the reason stands at `path` in them."""

    def __init__(self, errors: Sequence[Mapping[str, Any]], path: str = "", reason: str = "") -> None:
        super().__init__(reason or str(errors))
        self.errors = errors
        self.path = path
        self.reason = reason


class Architecture(NamedTuple):
    """One network to choose.

    Attributes:
        options: the JSON Schema of its options.
        pretrained: what must be installed for the weights that it was published with; empty where all is there, None
            where it has none.
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


class Architectures(Protocol):
    """Describes and checks architectures, which requires torch. Called by any thread but that of the event loop."""

    def list_architectures(self) -> Mapping[str, Architecture]:
        """Return the architectures by name, in the order of the catalog. Raises Unavailable."""

    def check_architecture(self, query: ArchitectureQuery) -> ArchitectureSummary:
        """Return the summary of the network that would be built.

        Raises:
            InvalidArchitecture: the network cannot be built.
            Unavailable: the inference process does not respond.
        """


class ModelBackend(Architectures, Protocol):
    """Where networks run."""

    async def start(self, back: Callable[[], None], lost: Callable[[], None]) -> None:
        """Begin; it need not be ready on return. Hear when networks can be loaded, and when some have been lost."""

    async def close(self) -> None:
        """End; whatever still waits is lost."""

    def check_ready(self) -> None:
        """Raise Unavailable where a prediction would; callable by any thread."""

    def facts(self) -> list[dict[str, Any]]:
        """What an operator may want to know, one entry a device; callable by any thread."""

    def open(self, ref: BundleRef, folder: Path, allowed: LoadOptions, heard: BatchListener) -> LoadedModel:
        """Load a bundle from a folder and warm it up; called by a thread that may wait for long.

        Raises:
            Corrupt, PredictionFailed, Unavailable: it cannot be loaded, or not now.
        """
