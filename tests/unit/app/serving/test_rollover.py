"""A version takes over when it is warm, and every answer is of one version."""

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
from tests.support.networks import LocalNetworks


class Version(NamedTuple):
    bundle: BundleRef


@pytest.fixture
async def predictors(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    predictors = ModelServer(storage, LocalNetworks(), max_batch_size=8, max_waiting=64, max_loaded=2)
    yield predictors
    await predictors.close()


async def test_the_one_before_answers_until_the_new_one_is_warm(predictors: ModelServer, storage: LocalStorage) -> None:
    old, new = (Version(bundles.store(storage, f"jobs/{seed}/bundle", seed=seed)) for seed in range(2))
    switch = VersionRollover(predictors, wait_s=0)
    assert await switch.choose("m@champion", old) is old
    await predictors.load(old.bundle)
    assert await switch.choose("m@champion", new) is old
    while not predictors.is_loaded(new.bundle):
        assert await switch.choose("m@champion", new) in (old, new)
        await asyncio.sleep(0.001)
    assert await switch.choose("m@champion", new) is new
    assert await switch.choose("m@champion", old) is old  # it is still warm: back at once


async def test_one_that_cannot_be_loaded_never_takes_over(predictors: ModelServer, storage: LocalStorage) -> None:
    old, broken = Version(bundles.store(storage, "jobs/a/bundle")), Version(BundleRef("none", (("a", "0"),), "m"))
    switch = VersionRollover(predictors)
    await switch.choose("m", old)
    await predictors.load(old.bundle)
    for _ in range(20):
        assert await switch.choose("m", broken) is old
        await asyncio.sleep(0.001)
    assert await switch.choose("n", broken) is broken  # nothing else ever answered for this name: its error is told


async def test_switching_under_load_fails_nobody_and_mixes_nothing(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    versions = [Version(bundles.store(storage, f"jobs/{seed}/bundle", seed=seed)) for seed in range(2)]
    images = list(np.random.default_rng(0).integers(0, 256, (4, 8, 8, 1), dtype=np.uint8))
    wanted = [np.stack(await predictors.predict(one.bundle, images)) for one in versions]  # type: ignore[arg-type]
    switch, stands_for, answered = VersionRollover(predictors), [versions[0]], [0, 0]

    async def ask() -> None:
        for _ in range(40):
            chosen = await switch.choose("m@champion", stands_for[0])
            found = np.stack(await predictors.predict(chosen.bundle, images))  # type: ignore[arg-type]
            number = versions.index(chosen)
            np.testing.assert_allclose(found, wanted[number], atol=1e-5)
            answered[number] += 1

    async def move() -> None:
        for number in range(20):
            stands_for[0] = versions[number % 2]
            await asyncio.sleep(0.002)

    await asyncio.gather(move(), *(ask() for _ in range(8)))
    assert sum(answered) == 320
