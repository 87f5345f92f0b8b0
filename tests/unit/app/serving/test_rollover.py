"""A new version serves requests when it is loaded, and each response is of one version."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np
import pytest

from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.types import BundleRef
from core.storage import LocalStorage
from tests.support import bundles
from tests.support.local_backend import LocalBackend


class Version(NamedTuple):
    bundle: BundleRef


@pytest.fixture
async def model_server(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    model_server = ModelServer(storage, LocalBackend(), max_batch_size=8, max_waiting=64, max_loaded=2)
    yield model_server
    await model_server.close()


async def test_the_previous_version_serves_until_the_new_one_is_loaded(
    model_server: ModelServer, storage: LocalStorage
) -> None:
    old, new = (Version(bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed)) for seed in range(2))
    rollover = VersionRollover(model_server, wait_s=0)
    assert await rollover.choose_version("m@champion", old) is old
    await model_server.load(old.bundle)
    assert await rollover.choose_version("m@champion", new) is old
    while not model_server.is_loaded(new.bundle):
        assert await rollover.choose_version("m@champion", new) in (old, new)
        await asyncio.sleep(0.001)
    assert await rollover.choose_version("m@champion", new) is new
    assert await rollover.choose_version("m@champion", old) is old  # it is still loaded


async def test_a_version_that_cannot_be_loaded_never_serves(model_server: ModelServer, storage: LocalStorage) -> None:
    old, broken = (
        Version(bundles.store_bundle(storage, "jobs/a/bundle")),
        Version(BundleRef("none", (("a", "0"),), "m")),
    )
    rollover = VersionRollover(model_server)
    await rollover.choose_version("m", old)
    await model_server.load(old.bundle)
    for _ in range(20):
        assert await rollover.choose_version("m", broken) is old
        await asyncio.sleep(0.001)
    assert await rollover.choose_version("n", broken) is broken  # it has no previous version


async def test_switching_versions_under_load_fails_no_request(model_server: ModelServer, storage: LocalStorage) -> None:
    versions = [Version(bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed)) for seed in range(2)]
    images = list(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8))
    expected = [np.stack(await model_server.predict(one.bundle, images)) for one in versions]  # type: ignore[arg-type]
    rollover, current, num_served = VersionRollover(model_server), [versions[0]], [0, 0]

    async def send_requests() -> None:
        for _ in range(40):
            version = await rollover.choose_version("m@champion", current[0])
            scores = np.stack(await model_server.predict(version.bundle, images))  # type: ignore[arg-type]
            number = versions.index(version)
            np.testing.assert_allclose(scores, expected[number], atol=1e-5)
            num_served[number] += 1

    async def switch_versions() -> None:
        for number in range(20):
            current[0] = versions[number % 2]
            await asyncio.sleep(0.002)

    await asyncio.gather(switch_versions(), *(send_requests() for _ in range(8)))
    assert sum(num_served) == 320
