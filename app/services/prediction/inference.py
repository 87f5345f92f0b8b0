"""Lists, loads, unloads and runs models for the Open Inference Protocol, independent of its wire format."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from app.services.prediction.default_variants import DefaultVariants
from app.services.prediction.timeouts import run_until_deadline
from app.services.prediction.version_cache import ServedModel, VersionCache, to_default_model
from app.serving.decoding import Decoder
from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.statistics import InferenceStatistics
from app.serving.types import DEFAULT_PRIORITY, Outcome, make_deadline_error
from app.serving.unload_state import UnloadedModels
from core.db.repos.models import ModelRepo
from core.db.session import SessionFactory, transaction
from core.db.tables import ModelVariantRow, ModelVersionRow
from core.errors import Conflict, ServiceError

Array = TypeVar("Array", bound=NDArray[Any])
Scores = NDArray[np.float32]
Images = Sequence[bytes] | NDArray[np.uint8] | NDArray[np.float32]

UNLOADED_REASON = "unloaded"
NOT_LOADED_REASON = "not loaded yet; the first request loads it"


class ModelIndexEntry(NamedTuple):
    """A model version, and the reason why it is not loaded; None if it is loaded."""

    model: ServedModel
    reason: str | None


class InstanceError(Exception):
    """Raised if one image of a request failed. The whole request fails: the protocol has no partial responses."""

    def __init__(self, index: int, error: ServiceError) -> None:
        super().__init__(f"image {index}: {error.detail}")
        self.index = index
        self.error = error


class InferenceService:
    """Runs inference. A model that a client unloaded is loaded again only by `load_model`, not by `infer`."""

    def __init__(
        self,
        sessions: SessionFactory,
        version_cache: VersionCache,
        decoder: Decoder,
        model_server: ModelServer,
        *,
        max_batch_size: int,
        unloaded: UnloadedModels,
        rollover: VersionRollover | None = None,
        default_variants: DefaultVariants | None = None,
    ) -> None:
        """Initialize the service.

        Args:
            sessions: open database sessions.
            version_cache: finds the versions of references.
            decoder: decodes images.
            model_server: loads and runs the versions.
            max_batch_size: the maximum number of samples per request.
            unloaded: the names of unloaded models. HTTP processes can share it.
            rollover: chooses the versions that serve requests; see `PredictionService`.
            default_variants: finds the variants that serve versions by default. Default: there are none.
        """
        self.max_batch_size = max_batch_size
        self._sessions = sessions
        self._version_cache = version_cache
        self._decoder = decoder
        self._model_server = model_server
        self._rollover = rollover or VersionRollover(model_server)
        self._default_variants = default_variants or DefaultVariants()
        self._unloaded = unloaded

    async def find_model(self, name: str, version: str = "") -> ServedModel:
        """Return the version with this number or alias. Without `version`, return the model's default version.

        Raises:
            NotFound: the model or version does not exist.
        """
        return self._rollover.skip_failed(await self._version_cache.get(f"{name}@{version}" if version else name))

    async def find_serving_version(self, name: str, version: str = "") -> ServedModel:
        """Return the version that serves requests: the previous version while a new version loads. Raises NotFound."""
        model = await self.find_model(name, version)
        if model.name in self._unloaded:  # `infer` rejects the request, so nothing is loaded
            return model
        return await self._rollover.choose_version(f"{name}@{version}", model)

    async def list_versions(self, name: str) -> list[ServedModel]:
        """Return all versions of a model, oldest first. Raises NotFound."""
        return await asyncio.to_thread(self._read_versions, name)

    async def list_version_numbers(self, name: str) -> list[int]:
        """Return the numbers of all versions of a model, oldest first."""
        return await asyncio.to_thread(self._read_version_numbers, name)

    async def list_models(self) -> list[ModelIndexEntry]:
        """Return all versions of all models."""
        return [
            ModelIndexEntry(model, self._get_unloaded_reason(model))
            for model in await asyncio.to_thread(self._read_all_versions)
        ]

    def get_statistics(self, model: ServedModel) -> InferenceStatistics:
        """Return the statistics that this process collected for a version."""
        return self._model_server.get_statistics(model.bundle)

    def get_memory_usage(self, model: ServedModel) -> dict[str, int]:
        """Return the bytes that a version uses on each device. The mapping is empty if the version is not loaded."""
        return self._model_server.get_memory_bytes(model.bundle)

    async def load_model(self, name: str) -> None:
        """Load a model's default version and warm it up.

        Raises:
            NotFound: the model does not exist.
            CorruptFile, PredictionFailed: the version cannot be loaded.
            NotReady, Overloaded: the version cannot be loaded now.
        """
        model = await self._version_cache.get(name)
        await self._rollover.load(model)
        self._unloaded.discard(name)

    async def unload_model(self, name: str) -> None:
        """Unload all versions of a model, with their variants and outputs. Requests in the queue are still served.

        Raises:
            NotFound: the model does not exist.
        """
        await self.list_versions(name)
        self._unloaded.add(name)
        self._model_server.unload_model(name)

    async def ensure_ready(self, model: ServedModel) -> None:
        """Load a version if it is not loaded yet.

        Raises:
            Conflict: a client unloaded the model.
            CorruptFile, PredictionFailed: the version cannot be loaded.
            NotReady, Overloaded: the version cannot be loaded now.
        """
        self._check_availability(model)
        await self._rollover.load(model)

    async def infer(
        self, model: ServedModel, images: Images, *, deadline: float | None, level: int = DEFAULT_PRIORITY
    ) -> Scores:
        """Return the raw scores of images, rows or windows, float32 (B, num_outputs).

        Args:
            model: the version to run.
            images: image files, pixels (uint8 (B, H, W, C) in the model's image size), or float32 rows or windows.
            deadline: time of the monotonic clock after which the request is abandoned; None for no deadline.
            level: priority level; requests with a lower level run first.

        Raises:
            InstanceError: one image failed, so no scores are returned.
            Conflict: a client unloaded the model.
            DeadlineExceeded: the deadline has passed.
            CorruptFile, PredictionFailed: the version cannot be loaded.
            Overloaded, NotReady, Unavailable: the server cannot take the request now.
        """
        self._check_availability(model)
        if deadline is not None and deadline <= time.monotonic():
            raise make_deadline_error()
        if not len(images):
            return np.empty((0, model.num_outputs), np.float32)
        with self._model_server.admit(model.bundle, len(images), deadline, level):
            return np.stack(
                _require_success(
                    await run_until_deadline(deadline, self._compute_outcomes(model, images, deadline, level))
                )
            )

    async def _compute_outcomes(
        self, model: ServedModel, images: Images, deadline: float | None, level: int
    ) -> list[Outcome]:
        if isinstance(images, np.ndarray):
            return await self._model_server.predict(model.bundle, list(images), deadline, level)
        started_at = time.monotonic()
        decoded = _require_success(await self._decoder.decode(images, model.image_shape, model.resize))
        self._model_server.record_decode_time(model.bundle, time.monotonic() - started_at)
        return await self._model_server.predict(model.bundle, decoded, deadline, level)

    def _check_availability(self, model: ServedModel) -> None:
        if model.name in self._unloaded:
            raise Conflict(f"Model {model.name!r} is unloaded; load it first.")

    def _get_unloaded_reason(self, model: ServedModel) -> str | None:
        if model.name in self._unloaded:
            return UNLOADED_REASON
        return None if self._model_server.is_loaded(model.bundle) else NOT_LOADED_REASON

    def _read_versions(self, name: str) -> list[ServedModel]:
        with transaction(self._sessions, read_only=True) as session:
            variants = self._default_variants.list_all(session, name)
            rows = reversed(ModelRepo(session).list_versions(name))
            return [self._to_model(row, variants) for row in rows]

    def _read_all_versions(self) -> list[ServedModel]:
        with transaction(self._sessions, read_only=True) as session:
            variants = self._default_variants.list_all(session)
            return [self._to_model(row, variants) for row in ModelRepo(session).iterate_all_versions()]

    def _to_model(self, row: ModelVersionRow, variants: Mapping[tuple[str, int], ModelVariantRow]) -> ServedModel:
        return self._rollover.skip_failed(to_default_model(row, variants.get((row.name, row.version))))

    def _read_version_numbers(self, name: str) -> list[int]:
        with transaction(self._sessions, read_only=True) as session:
            return ModelRepo(session).list_version_numbers(name)


def _require_success(outcomes: Sequence[Array | ServiceError]) -> list[Array]:
    results = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ServiceError):
            raise InstanceError(index, outcome)
        results.append(outcome)
    return results
