"""Reloads the models that were lost when their inference process ended."""

import asyncio

import structlog

from app.serving.model_cache import ModelCache
from app.serving.types import BundleRef
from core.errors import ServiceError

log = structlog.get_logger(__name__)


class ModelReloader:
    """Removes lost models from the cache and loads them again when the backend is ready.

    Use it on one event loop only.
    """

    def __init__(self, cache: ModelCache) -> None:
        self._cache = cache
        self._lost: list[BundleRef] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def remove_lost_models(self) -> None:
        """Remove the lost models from the cache, and remember them for `reload_models`."""
        self._lost += self._cache.invalidate_lost_models()

    def reload_models(self) -> None:
        """Load the removed models again, in the background."""
        lost, self._lost = self._lost, []
        for ref in lost:
            task = asyncio.create_task(self._reload(ref))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _reload(self, ref: BundleRef) -> None:
        try:
            await self._cache.get(ref)
        except ServiceError as error:
            log.warning("model.reload_failed", model=ref.model, key=ref.key, error=error.detail)
