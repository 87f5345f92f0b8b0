"""Models that stay in memory are there before anybody asks, whatever becomes of their neighbours."""

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
from tests.support.bundles import register
from tests.support.http_service import service_state
from tests.support.networks import LocalNetworks
from tests.support.processes import wait_for


class Starting(LocalNetworks):
    """Networks whose process has not come up yet."""

    def __init__(self) -> None:
        super().__init__()
        self.is_up = False

    def check_ready(self) -> None:
        if not self.is_up:
            raise Unavailable("It starts.")


@pytest.fixture
def networks() -> Starting:
    return Starting()


@pytest.fixture
async def predictors(
    storage: LocalStorage, networks: Starting, sqlite_sessions: SessionFactory, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ModelServer]:
    """Models `shapes` with versions 1 and 2, `broken` without files, `other`; nothing is loaded."""
    for name, version in (("shapes", 1), ("shapes", 2), ("broken", 1), ("other", 1)):
        register(sqlite_sessions, storage, name, version, seed=version)
    storage.delete("jobs/broken-1/bundle")
    monkeypatch.setattr(module, "POLL_S", 0.001)
    predictors = ModelServer(storage, networks, max_batch_size=4, max_waiting=8, max_loaded=4)
    yield predictors
    await predictors.close()


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.005)


async def test_default_versions_are_loaded_when_the_networks_can_be(
    predictors: ModelServer, networks: Starting, sqlite_sessions: SessionFactory
) -> None:
    lookup = VersionCache(sqlite_sessions)
    new, old = [(await lookup.get(ref)).bundle for ref in ("shapes@2", "shapes@1")]
    async with preload_models(["shapes"], lookup, predictors):
        await asyncio.sleep(0.05)
        assert not predictors.is_loaded(new)
        networks.is_up = True
        await until(lambda: predictors.is_loaded(new))
    assert not predictors.is_loaded(old)


async def test_one_that_does_not_exist_or_fails_is_one_warning_and_the_next_is_loaded(
    predictors: ModelServer, networks: Starting, sqlite_sessions: SessionFactory
) -> None:
    networks.is_up = True
    lookup = VersionCache(sqlite_sessions)
    last = (await lookup.get("other")).bundle
    with capture_logs() as logs:
        async with preload_models(["dogs", "broken", "other"], lookup, predictors):
            await until(lambda: predictors.is_loaded(last))
    warned = [entry["model"] for entry in logs if entry["event"] == "model.preload_failed"]
    assert warned == ["dogs", "broken"]


async def test_the_end_of_the_service_does_not_wait_for_networks_that_never_come_up(
    predictors: ModelServer, sqlite_sessions: SessionFactory
) -> None:
    async with asyncio.timeout(30), preload_models(["shapes"], VersionCache(sqlite_sessions), predictors):
        await asyncio.sleep(0.01)


def test_the_service_loads_them_and_is_ready_whatever_fails(tmp_path: Path, sqlite_template: Path) -> None:
    with service_state(tmp_path, sqlite_template, pinned_models=("dogs", "shapes")) as state:
        register(state.sessions, state.storage, "shapes", 1)
        with TestClient(create_app(state=state)) as client:
            assert client.get("/health/ready").status_code == 200

            def is_loaded() -> bool:
                index = client.post("/v2/repository/index", json={"ready": True}).json()
                return [entry["name"] for entry in index] == ["shapes"]

            wait_for(is_loaded, "the pinned model")
