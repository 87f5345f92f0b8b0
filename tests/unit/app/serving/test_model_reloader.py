"""Models that were lost with their process are loaded again."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from app.serving.model_cache import ModelCache
from app.serving.model_reloader import ModelReloader
from app.serving.types import BundleRef
from tests.support.local_backend import FakeLoader, LocalModel

REF = BundleRef("key", (), "m")


@pytest.fixture
async def cache() -> AsyncIterator[ModelCache]:
    cache = ModelCache(FakeLoader(), max_loaded=2)
    yield cache
    await cache.close()


async def test_a_lost_model_is_removed_and_loaded_again(cache: ModelCache) -> None:
    reloader = ModelReloader(cache)
    model = await cache.get(REF)
    assert isinstance(model, LocalModel)
    model.is_lost = True
    reloader.remove_lost_models()
    assert cache.peek(REF) is None
    reloader.reload_models()
    async with asyncio.timeout(30):
        while cache.peek(REF) is None:
            await asyncio.sleep(0.01)
    assert cache.peek(REF) is not model
