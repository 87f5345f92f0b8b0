"""Pinned models are loaded at startup, also when others fail."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from structlog.testing import capture_logs

from app.main import create_app
from app.services.prediction import preload as module
from app.services.prediction.preload import preload_models
from app.services.prediction.version_cache import VersionCache
from app.serving.model_server import ModelServer
from core.db.session import SessionFactory
from core.errors import Unavailable
from core.storage import LocalStorage
from tests.support.bundles import register_model
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


async def test_model_that_fails_is_logged_and_the_next_is_loaded(
    model_server: ModelServer, networks: StartingNetworks, sqlite_sessions: SessionFactory
) -> None:
    networks.is_up = True
    version_cache = VersionCache(sqlite_sessions)
    last = (await version_cache.get("other")).bundle
    with capture_logs() as logs:
        async with preload_models(["dogs", "broken", "other"], version_cache, model_server):
            await wait_until(lambda: model_server.is_loaded(last))
    models = [entry["model"] for entry in logs if entry["event"] == "model.preload_failed"]
    assert models == ["dogs", "broken"]


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
