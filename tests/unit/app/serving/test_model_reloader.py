"""Models that were lost with their process are loaded again."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest

from app.inference.batcher import DynamicBatcher
from app.serving.model_cache import ModelCache
from app.serving.model_reloader import ModelReloader
from app.serving.types import BundleRef
from tests.support.local_backend import LocalModel

REF = BundleRef("key", (), "m")


class FakeLoader:
    """Loads a model without files."""

    def fetch(self, ref: BundleRef) -> tuple[Path, int]:
        return Path(ref.key), 1

    def load(self, ref: BundleRef, folder: Path) -> LocalModel:
        batcher = DynamicBatcher(
            lambda samples: np.zeros((len(samples), 1), np.float32), model=ref.model, max_batch_size=2, max_waiting=4
        )
        return LocalModel(batcher, batcher.close)


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
