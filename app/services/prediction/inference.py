"""What a client of the Open Inference Protocol can do: describe, load, unload, ask. It knows no wire format."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.timeouts import before
from app.services.prediction.version_cache import Lookup, Served, served_of
from app.serving.decoding import Decoder
from app.serving.model_server import Predictors
from app.serving.rollover import Switch
from app.serving.statistics import Tally
from app.serving.types import DEFAULT_LEVEL, Outcome, late
from app.serving.unload_state import Unloaded
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.errors import Conflict, ServiceError

Array = TypeVar("Array", bound=NDArray[Any])
Scores = NDArray[np.float32]
Pictures = Sequence[bytes] | NDArray[np.uint8] | NDArray[np.float32]

UNLOADED = "unloaded"
ON_DEMAND = "is loaded when it is asked for"


class Indexed(NamedTuple):
    """A version, and why it is not in memory; None where it is."""

    served: Served
    reason: str | None


class PictureFailed(Exception):
    """One picture of several cannot be read, or its network failed on it; the protocol has no partial answers."""

    def __init__(self, index: int, error: ServiceError) -> None:
        super().__init__(f"picture {index}: {error.detail}")
        self.index = index
        self.error = error


class InferenceService:
    """One for the process. A model that was unloaded by name stays so, here, until it is loaded by name."""

    def __init__(
        self,
        sessions: SessionFactory,
        lookup: Lookup,
        decoder: Decoder,
        predictors: Predictors,
        *,
        max_batch_size: int,
        unloaded: Unloaded | None = None,
    ) -> None:
        """`unloaded` is what HTTP processes of one machine share; one that is alone needs none."""
        self.max_batch_size = max_batch_size
        self._sessions = sessions
        self._lookup = lookup
        self._decoder = decoder
        self._predictors = predictors
        self._switch = Switch(predictors)
        self._unloaded = set[str]() if unloaded is None else unloaded

    async def find(self, name: str, version: str = "") -> Served:
        """The version that a number or an alias stands for; without one, the model's default.

        Raises:
            NotFound: there is none.
        """
        return await self._lookup.get(f"{name}@{version}" if version else name)

    async def answering(self, name: str, version: str = "") -> Served:
        """The version that answers for it now: the one before as long as a new one is being loaded. Raises NotFound."""
        return await self._switch.choose(f"{name}@{version}", await self.find(name, version))

    async def versions(self, name: str) -> list[Served]:
        """Every version of a model, the oldest first. Raises NotFound."""
        return await asyncio.to_thread(self._read_versions, name)

    async def index(self) -> list[Indexed]:
        """Every version of every model."""
        return [Indexed(served, self._reason(served)) for served in await asyncio.to_thread(self._read_all)]

    def tally(self, served: Served) -> Tally:
        """What a version has done in this process; one that was never loaded has done nothing."""
        return self._predictors.tally(served.bundle)

    def num_bytes(self, served: Served) -> dict[str, int]:
        """What a version takes in memory, by device; nothing where it is not loaded."""
        return self._predictors.num_bytes(served.bundle)

    async def load(self, name: str) -> None:
        """Have a model's default version in memory and warm.

        Raises:
            NotFound: there is none.
            Corrupt, PredictionFailed, NotReady, Overloaded: it cannot be loaded, or not now.
        """
        served = await self._lookup.get(name)
        await self._predictors.load(served.bundle)
        self._unloaded.discard(name)

    async def unload(self, name: str) -> None:
        """Let a model's versions go; what waits is still answered. Raises NotFound."""
        versions = await self.versions(name)
        self._unloaded.add(name)
        for served in versions:
            self._predictors.unload(served.bundle)

    async def make_ready(self, served: Served) -> None:
        """Return when a version can answer at once, loading it where it was not unloaded by name.

        Raises:
            Conflict: it was.
            Corrupt, PredictionFailed, NotReady, Overloaded: it cannot be loaded, or not now.
        """
        self._refuse_unloaded(served)
        await self._predictors.load(served.bundle)

    async def infer(
        self, served: Served, pictures: Pictures, *, deadline: float | None, level: int = DEFAULT_LEVEL
    ) -> Scores:
        """The raw scores of pictures, float32 (B, num_outputs).

        Args:
            served: the version to ask.
            pictures: files, or pixels of the model's image shape, uint8 (B, H, W, C).
            deadline: of the monotonic clock; nothing is computed for a caller whose time is up.
            level: those who wait on a lower one are computed first.

        Raises:
            PictureFailed: of one picture; the others are not answered either.
            Conflict: the model was unloaded.
            DeadlineExceeded: the time was up.
            Overloaded, NotReady, Unavailable, Corrupt, PredictionFailed: not now, or the version cannot be loaded.
        """
        self._refuse_unloaded(served)
        if deadline is not None and deadline <= time.monotonic():
            raise late()
        if not len(pictures):
            return np.empty((0, served.num_outputs), np.float32)
        with self._predictors.admitted(served.bundle, len(pictures), deadline, level):
            return np.stack(_all_well(await before(deadline, self._answers(served, pictures, deadline, level))))

    async def _answers(self, served: Served, pictures: Pictures, deadline: float | None, level: int) -> list[Outcome]:
        if isinstance(pictures, np.ndarray):
            return await self._predictors.predict(served.bundle, list(pictures), deadline, level)
        began_at = time.monotonic()
        decoded = _all_well(await self._decoder.decode(pictures, served.image_shape, served.resize))
        self._predictors.decoded(served.bundle, time.monotonic() - began_at)
        return await self._predictors.predict(served.bundle, decoded, deadline, level)

    def _refuse_unloaded(self, served: Served) -> None:
        if served.name in self._unloaded:
            raise Conflict(f"Model {served.name!r} is unloaded; load it first.")

    def _reason(self, served: Served) -> str | None:
        if served.name in self._unloaded:
            return UNLOADED
        return None if self._predictors.is_loaded(served.bundle) else ON_DEMAND

    def _read_versions(self, name: str) -> list[Served]:
        with transaction(self._sessions, read_only=True) as session:
            return [served_of(row) for row in reversed(ModelRepo(session).versions(name))]

    def _read_all(self) -> list[Served]:
        with transaction(self._sessions, read_only=True) as session:
            models, found = ModelRepo(session), list[Served]()
            names, after = models.names(limit=1000)
            while names:
                found += [served_of(row) for name in names for row in reversed(models.versions(name))]
                names, after = models.names(after=after, limit=1000) if after else ([], None)
            return found


def _all_well(outcomes: Sequence[Array | ServiceError]) -> list[Array]:
    well = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ServiceError):
            raise PictureFailed(index, outcome)
        well.append(outcome)
    return well
