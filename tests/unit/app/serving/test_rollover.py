"""A new version serves requests when it is loaded, and each response is of one version."""

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import numpy as np
import pytest
from structlog.testing import capture_logs

from app.serving.model_server import ModelServer
from app.serving.rollover import RETRY_S, VersionRollover
from app.serving.types import BundleRef
from core.errors import CorruptFile, Overloaded
from core.storage import LocalStorage
from tests.support import bundles
from tests.support.fakes import Clock
from tests.support.local_backend import LocalBackend


class Version(NamedTuple):
    bundle: BundleRef
    fallback: "Version | None" = None


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


BROKEN = Version(BundleRef("jobs/none/bundle", (("a", "0"),), "m"))


@pytest.mark.parametrize("is_served", [False, True])
async def test_the_fallback_serves_if_the_version_cannot_be_loaded(
    model_server: ModelServer, storage: LocalStorage, is_served: bool
) -> None:
    """Also if another version has served before, or the fallback itself."""
    fallback, old = (Version(bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed)) for seed in range(2))
    rollover = VersionRollover(model_server)
    if is_served:
        await rollover.choose_version("m", old)
        await model_server.load(old.bundle)
        await rollover.choose_version("n", fallback)
        await model_server.load(fallback.bundle)
    with capture_logs() as logs:
        broken = BROKEN._replace(fallback=fallback)
        chosen = [await rollover.choose_version(ref, broken) for ref in ("m", "n", "m", "n")]
        assert await rollover.load(broken) is fallback
    assert chosen == [fallback] * 4
    assert model_server.is_loaded(fallback.bundle)
    assert [entry["event"] for entry in logs].count("model.rollover_failed") == 1
    assert [entry["event"] for entry in logs].count("model.load_failed") == 1


async def test_a_version_that_could_not_be_loaded_is_tried_again_later(
    model_server: ModelServer, storage: LocalStorage
) -> None:
    clock = Clock()
    fallback = Version(bundles.store_bundle(storage, "jobs/0/bundle"))
    rollover = VersionRollover(model_server, clock=clock)
    variant = Version(BundleRef("jobs/1/bundle", fallback.bundle.files, "m"), fallback)
    assert await rollover.choose_version("m", variant) is fallback
    bundles.store_bundle(storage, "jobs/1/bundle")
    model_server._cache.unload(variant.bundle)  # forgets the failure
    assert await rollover.choose_version("m", variant) is fallback
    clock.now += RETRY_S
    assert await rollover.choose_version("m", variant) is variant
    assert model_server.is_loaded(variant.bundle)


async def test_a_temporary_error_is_not_remembered(model_server: ModelServer, storage: LocalStorage) -> None:
    fallback = Version(bundles.store_bundle(storage, "jobs/0/bundle"))
    variant = Version(bundles.store_bundle(storage, "jobs/1/bundle", seed=1), fallback)
    rollover, load = VersionRollover(model_server), model_server.load

    async def fail(bundle: BundleRef) -> None:
        raise Overloaded("Too many models are being loaded.")

    model_server.load = fail  # type: ignore[method-assign]  # fails once
    assert await rollover.choose_version("m", variant) is fallback
    model_server.load = load  # type: ignore[method-assign]
    assert not rollover.has_failed(variant.bundle)
    assert await rollover.choose_version("m", variant) is variant


async def test_a_version_without_a_fallback_raises_its_error(model_server: ModelServer) -> None:
    with pytest.raises(CorruptFile):
        await VersionRollover(model_server).load(BROKEN)
