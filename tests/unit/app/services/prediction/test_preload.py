"""Pinned models are loaded at startup, also when others fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from app.main import create_app
from app.services.prediction import preload as module
from app.services.prediction.default_variants import DefaultVariants
from app.services.prediction.preload import preload_models
from app.services.prediction.version_cache import AS_TRAINED, ServedModel, VersionCache
from app.serving.model_server import ModelServer
from app.serving.types import BundleRef
from core.db.session import SessionFactory, transaction
from core.errors import Unavailable
from core.storage import LocalStorage
from tests.support.bundles import build_variant_row, register_model
from tests.support.http_service import service_state
from tests.support.local_backend import LocalBackend
from tests.support.processes import wait_for


class StartingNetworks(LocalBackend):
    """Networks whose process does not respond until `is_up`."""

    def __init__(self) -> None:
        super().__init__()
        self.is_up = False

    def check_ready(self) -> None:
        if not self.is_up:
            raise Unavailable("The process is starting.")


class CountingVersionCache(VersionCache):
    """Counts the versions that it is asked for."""

    num_calls = 0

    async def get(self, ref: str, variant: str | None = None) -> ServedModel:
        self.num_calls += 1
        return await super().get(ref, variant)


@pytest.fixture
def networks() -> StartingNetworks:
    return StartingNetworks()


@pytest.fixture
async def model_server(
    storage: LocalStorage, networks: StartingNetworks, sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ModelServer]:
    """A server of `shapes` with versions 1 and 2, `broken` without files, and `other`; no model is loaded."""
    for name, version in (("shapes", 1), ("shapes", 2), ("broken", 1), ("other", 1)):
        register_model(sqlite_sessions, storage, name, version, seed=version)
    storage.delete("jobs/broken-1/bundle")
    monkeypatch.setattr(module, "POLL_S", 0.001)
    monkeypatch.setattr(module, "REFRESH_S", 0.001)
    model_server = ModelServer(storage, networks, max_batch_size=4, max_waiting=8, max_loaded=4)
    yield model_server
    await model_server.close()


async def wait_until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


async def test_default_versions_are_loaded_once_the_process_responds(
    model_server: ModelServer, networks: StartingNetworks, sqlite_sessions: SessionFactory
) -> None:
    version_cache = VersionCache(sqlite_sessions)
    new, old = [(await version_cache.get(ref)).bundle for ref in ("shapes@2", "shapes@1")]
    async with preload_models(["shapes"], version_cache, model_server):
        await asyncio.sleep(0.05)
        assert not model_server.is_loaded(new)
        networks.is_up = True
        await wait_until(lambda: model_server.is_loaded(new))
    assert not model_server.is_loaded(old)


async def test_a_new_default_version_is_loaded_and_pinned_instead_of_the_old_one(
    model_server: ModelServer,
    networks: StartingNetworks,
    sqlite_sessions: SessionFactory,
    storage: LocalStorage,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    networks.is_up = True
    version_cache = VersionCache(sqlite_sessions, ttl_s=0.001)
    pinned: list[tuple[str, str | None]] = []

    def pin(name: str, bundle: BundleRef | None) -> None:
        pinned.append((name, None if bundle is None else bundle.version))

    monkeypatch.setattr(model_server, "pin", pin)
    async with preload_models(["shapes", "new"], version_cache, model_server):
        await wait_until(lambda: ("new", None) in pinned)
        register_model(sqlite_sessions, storage, "shapes", 3, seed=3)
        newest = (await version_cache.get("shapes@3")).bundle
        await wait_until(lambda: model_server.is_loaded(newest))
        register_model(sqlite_sessions, storage, "new", 1, seed=1)
        await wait_until(lambda: pinned[-1] == ("new", "1"))
    changes = [change for number, change in enumerate(pinned) if change not in pinned[:number]]
    assert changes == [("shapes", "2"), ("new", None), ("shapes", "3"), ("new", "1")]


async def test_model_that_fails_is_logged_once_and_the_next_is_loaded(
    model_server: ModelServer, networks: StartingNetworks, sqlite_sessions: SessionFactory
) -> None:
    networks.is_up = True
    version_cache = CountingVersionCache(sqlite_sessions)
    last = (await version_cache.get("other")).bundle
    with capture_logs() as logs:
        async with preload_models(["dogs", "broken", "other"], version_cache, model_server):
            await wait_until(lambda: model_server.is_loaded(last) and version_cache.num_calls > 20)
    models = [entry["model"] for entry in logs if entry["event"] == "model.preload_failed"]
    assert models == ["dogs", "broken"]


async def test_the_network_is_pinned_instead_of_a_default_variant_that_cannot_be_loaded(
    model_server: ModelServer, networks: StartingNetworks, sqlite_sessions: SessionFactory
) -> None:
    networks.is_up = True
    version_cache = CountingVersionCache(sqlite_sessions, DefaultVariants(is_enabled=True))
    network = (await version_cache.get("shapes", AS_TRAINED)).bundle
    with transaction(sqlite_sessions) as session:
        session.add(build_variant_row("shapes", 2, chosen_by="auto"))  # without files
    with capture_logs() as logs:
        async with preload_models(["shapes"], version_cache, model_server):
            await wait_until(lambda: model_server.is_loaded(network) and version_cache.num_calls > 20)
    assert (await version_cache.get("shapes")).variant == "onnx"
    assert model_server._cache._pinned == {"shapes": network.cache_key}
    assert [entry["event"] for entry in logs].count("model.load_failed") == 1


async def test_shutdown_does_not_wait_for_a_process_that_never_responds(
    model_server: ModelServer, sqlite_sessions: SessionFactory
) -> None:
    async with asyncio.timeout(30), preload_models(["shapes"], VersionCache(sqlite_sessions), model_server):
        await asyncio.sleep(0.01)


def test_service_preloads_models_and_is_ready_after_failures(tmp_path: Path, sqlite_template: Path) -> None:
    with service_state(tmp_path, sqlite_template, pinned_models=("dogs", "shapes")) as state:
        register_model(state.sessions, state.storage, "shapes", 1)
        with TestClient(create_app(state=state)) as client:
            assert client.get("/health/ready").status_code == 200

            def is_loaded() -> bool:
                index = client.post("/v2/repository/index", json={"ready": True}).json()
                return [entry["name"] for entry in index] == ["shapes"]

            wait_for(is_loaded, "the pinned model")
