"""Keeps the default versions of the models of the setting `pinned_models` loaded, so that no request waits for them."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import structlog

from app.services.prediction.version_cache import VersionCache
from app.serving.backend import ModelBackend
from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.types import BundleRef
from core.errors import NotFound, ServiceError, Unavailable

log = structlog.get_logger(__name__)
POLL_S = 0.25
REFRESH_S = 10.0
"""Seconds after which a new default version is loaded and pinned at the latest."""


@asynccontextmanager
async def preload_models(
    names: Collection[str],
    version_cache: VersionCache,
    model_server: ModelServer,
    rollover: VersionRollover | None = None,
) -> AsyncIterator[None]:
    """Start a background task that pins the default version of each model, and cancel it when the context ends."""
    rollover = rollover or VersionRollover(model_server)
    pinning = asyncio.create_task(_pin_models(names, version_cache, model_server, rollover))
    try:
        yield
    finally:
        pinning.cancel()
        await asyncio.gather(pinning, return_exceptions=True)


async def _pin_models(
    names: Collection[str], version_cache: VersionCache, model_server: ModelServer, rollover: VersionRollover
) -> None:
    if not names:
        return
    pinned = [_PinnedModel(name, version_cache, model_server, rollover) for name in names]
    await _wait_until_ready(model_server.backend)
    while True:
        for model in pinned:
            await model.refresh()
        await asyncio.sleep(REFRESH_S)


class _PinnedModel:
    """Follows the default version of a model. A version that cannot be loaded is loaded on its first request."""

    def __init__(
        self, name: str, version_cache: VersionCache, model_server: ModelServer, rollover: VersionRollover
    ) -> None:
        self._name = name
        self._version_cache = version_cache
        self._model_server = model_server
        self._rollover = rollover
        self._bundle: BundleRef | None = None
        self._failure: str | None = None

    async def refresh(self) -> None:
        """If the default version is a different one, pin and load it. Log a failure once, not at every refresh."""
        try:
            await self._follow_default()
        except ServiceError as error:
            self._log_failure(error.detail)
        except Exception as error:  # noqa: BLE001 - after any error, the other models are loaded
            self._log_failure(repr(error)[:500])

    async def _follow_default(self) -> None:
        try:
            model = self._rollover.skip_failed(await self._version_cache.get(self._name))
        except NotFound:
            self._pin(None)
            raise
        if model.bundle != self._bundle:
            self._pin(model.bundle)
            await self._rollover.load(model)  # the next refresh pins the fallback if it serves instead
            self._failure = None

    def _pin(self, bundle: BundleRef | None) -> None:
        self._bundle = bundle
        self._model_server.pin(self._name, bundle)

    def _log_failure(self, error: str) -> None:
        if error != self._failure:
            log.warning("model.preload_failed", model=self._name, error=error)
        self._failure = error


async def _wait_until_ready(backend: ModelBackend) -> None:
    """Wait until every inference process responds."""
    while True:
        try:
            backend.check_ready()
        except Unavailable:
            await asyncio.sleep(POLL_S)
        else:
            return
