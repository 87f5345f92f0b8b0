"""Loads the models of the setting `pinned_models` at startup, so that their first request does not wait."""

import asyncio
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager

import structlog

from app.services.prediction.version_cache import VersionCache
from app.serving.backend import ModelBackend
from app.serving.model_server import ModelServer
from core.errors import ServiceError, Unavailable

log = structlog.get_logger(__name__)
POLL_S = 0.25


@asynccontextmanager
async def preload_models(
    names: Collection[str], version_cache: VersionCache, model_server: ModelServer
) -> AsyncIterator[None]:
    """Start a background task that loads the default version of each model, and cancel it when the context ends."""
    loading = asyncio.create_task(_load_models(names, version_cache, model_server))
    try:
        yield
    finally:
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)


async def _load_models(names: Collection[str], version_cache: VersionCache, model_server: ModelServer) -> None:
    if names:
        await _wait_until_ready(model_server.backend)
    for name in names:
        try:
            await model_server.load((await version_cache.get(name)).bundle)
        except ServiceError as error:
            log.warning("model.preload_failed", model=name, error=error.detail)
        except Exception as error:  # noqa: BLE001 - after any error, load the remaining models
            log.warning("model.preload_failed", model=name, error=repr(error)[:500])


async def _wait_until_ready(backend: ModelBackend) -> None:
    """Wait until every inference process responds."""
    while True:
        try:
            backend.check_ready()
        except Unavailable:
            await asyncio.sleep(POLL_S)
        else:
            return
