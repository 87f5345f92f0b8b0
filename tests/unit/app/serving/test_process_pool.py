"""A real inference process: its results, and recovery when it is killed or frozen or its owner ends."""

import asyncio
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import pytest_asyncio

from app.serving.backend import ArchitectureQuery, InvalidArchitecture
from app.serving.client import InferenceClient
from app.serving.model_server import ModelServer
from app.serving.process import build_environment
from app.serving.process_pool import InferenceProcessPool
from app.serving.types import BundleRef, Outcome, Pixels, Scores
from core.errors import CorruptFile, PredictionFailed, ServiceError, Unavailable
from core.storage import LocalStorage
from tests.support import bundles, processes
from tests.support.local_backend import LocalBackend
from tests.support.process_environment import CREDENTIALS, find_credentials
from tests.support.processes import is_alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SLOW: dict[str, Any] = {  # a batch takes long on any machine
    "architecture": {"name": "convnet", "options": {"channels": [256, 256], "kernel": 5}},
    "image_shape": (1, 128, 128),
}
TIMEOUT_S = 120
OWNER = """
import asyncio
from app.serving.process_pool import InferenceProcessPool
from core.logging import configure_logging
configure_logging()
async def main():
    pool = InferenceProcessPool("cpu")
    await pool.start(lambda: print(*pool.pids, flush=True), lambda: None)
    await asyncio.sleep(300)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> LocalStorage:
    return LocalStorage.open_folder(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def small(storage: LocalStorage) -> BundleRef:
    return bundles.store_bundle(storage, "jobs/small/bundle")


@pytest.fixture(scope="module")
def slow(storage: LocalStorage) -> BundleRef:
    return bundles.store_bundle(storage, "jobs/slow/bundle", **SLOW)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def model_server(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    model_server = ModelServer(storage, InferenceProcessPool("cpu"), max_batch_size=4, max_waiting=64, max_loaded=4)
    await model_server.start()
    await wait_until(lambda: is_ready(model_server))
    yield model_server
    await model_server.close()


async def wait_until(holds: Callable[[], bool], what: str = "the inference process") -> None:
    """Wait like `wait_for`, without blocking the event loop."""
    deadline = time.monotonic() + TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {TIMEOUT_S} s for {what}")
        await asyncio.sleep(0.01)


def is_ready(model_server: ModelServer) -> bool:
    try:
        model_server.backend.check_ready()
    except Unavailable:
        return False
    return True


def get_pid(model_server: ModelServer) -> int:
    (device,) = model_server.backend.list_devices()
    return int(device["pid"])


def get_client(model_server: ModelServer) -> InferenceClient:
    assert isinstance(model_server.backend, InferenceProcessPool)
    return model_server.backend._processes[0].get_client()


def make_images(number: int, side: int = 8) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (number, side, side, 1), dtype=np.uint8))


def count_computed(model_server: ModelServer, bundle: BundleRef) -> int:
    return sum(size * duration.count for size, duration in model_server.get_statistics(bundle).list_batches())


@asynccontextmanager
async def pause_process(model_server: ModelServer) -> AsyncIterator[None]:
    """Pause the inference process until all messages that are sent meanwhile are in its socket."""
    with processes.freeze_processes(get_pid(model_server)):
        yield
        await asyncio.sleep(0.05)  # every request is sent or cancelled
        await wait_until(lambda: not get_client(model_server)._buffer)


def stack_scores(outcomes: list[Outcome]) -> Scores:
    assert not any(isinstance(outcome, ServiceError) for outcome in outcomes)
    return np.stack(outcomes)  # type: ignore[arg-type]  # every outcome has scores


async def test_scores_equal_those_of_a_local_backend(
    model_server: ModelServer, storage: LocalStorage, small: BundleRef
) -> None:
    local = ModelServer(storage, LocalBackend(), max_batch_size=4, max_waiting=64, max_loaded=4)
    samples = make_images(9)
    expected = stack_scores(await local.predict(small, samples))
    np.testing.assert_allclose(stack_scores(await model_server.predict(small, samples)), expected, atol=1e-5)
    alone = await asyncio.gather(*(model_server.predict(small, [one]) for one in samples))
    np.testing.assert_allclose(stack_scores([outcome for (outcome,) in alone]), expected, atol=1e-5)
    statistics = model_server.get_statistics(small)
    assert (statistics.success.count, statistics.queue.count) == (10, 10)
    assert count_computed(model_server, small) == 18
    await local.close()


async def test_higher_priorities_are_computed_first(model_server: ModelServer, slow: BundleRef) -> None:
    await model_server.load(slow)
    completed: list[int] = []

    async def predict(priority: int) -> None:
        await model_server.predict(slow, make_images(3, side=128), priority=priority)
        completed.append(priority)

    async with pause_process(model_server):
        first = asyncio.create_task(model_server.predict(slow, make_images(4, side=128)))
        tasks = [asyncio.create_task(predict(priority)) for priority in (3, 2, 1)]
    await asyncio.gather(first, *tasks)
    assert completed == [1, 2, 3]  # only the first can have started before the others arrived


async def test_an_image_of_another_shape_fails_alone(model_server: ModelServer, small: BundleRef) -> None:
    samples = make_images(3)
    samples[1] = np.zeros((9, 8, 1), np.uint8)
    outcomes = await model_server.predict(small, samples)
    assert [isinstance(one, PredictionFailed) for one in outcomes] == [False, True, False]


async def test_scores_that_are_not_finite_are_errors(model_server: ModelServer, storage: LocalStorage) -> None:
    mad = bundles.store_bundle(storage, "jobs/mad/bundle", mean=[-3e38], std=[1e-5])
    for number in (1, 3):
        outcomes = await model_server.predict(mad, make_images(number))
        assert [isinstance(one, PredictionFailed) for one in outcomes] == [True] * number


async def test_an_invalid_bundle_is_an_error(model_server: ModelServer, storage: LocalStorage) -> None:
    folder = storage.create_scratch_folder() / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    storage.publish(folder, "jobs/odd/bundle")
    with pytest.raises(CorruptFile):
        await model_server.load(BundleRef("jobs/odd/bundle", (), "odd"))


async def test_architectures_are_checked_as_by_a_local_backend(model_server: ModelServer) -> None:
    local, remote = LocalBackend(), model_server.backend
    assert dict(remote.list_architectures()) == dict(local.list_architectures())
    queries: list[tuple[str, dict[str, Any]]] = [
        ("mlp", {"hidden": [7]}),
        ("mlp", {"hiden": [7]}),
        ("convnet", {"kernel": 2}),
        ("vit_b_16", {}),
        ("layers", {"layers": [{"type": "linear", "out": 3}]}),
    ]
    for name, options in queries:
        query = ArchitectureQuery(name, orjson.dumps(options), (1, 8, 8), 3)
        results: list[Any] = []
        for one in (local, remote):
            try:
                results.append(await one.check_architecture(query))
            except InvalidArchitecture as error:
                results.append((error.errors, error.path, error.reason))
        assert results[0] == results[1]


async def test_a_cancelled_request_is_dropped_and_frees_its_memory(model_server: ModelServer, slow: BundleRef) -> None:
    await model_server.load(slow)
    before = count_computed(model_server, slow)
    async with pause_process(model_server):
        busy = asyncio.create_task(model_server.predict(slow, make_images(4, 128)))
        cancelled_task = asyncio.create_task(model_server.predict(slow, make_images(3, 128)))
        await asyncio.sleep(0)  # both requests are sent
        cancelled_task.cancel()
    await busy
    await model_server.predict(slow, make_images(1, 128))
    assert count_computed(model_server, slow) - before == 4 + 1
    assert cancelled_task.cancelled()


async def test_a_frozen_process_is_not_ready_until_it_continues(model_server: ModelServer) -> None:
    pid = get_pid(model_server)
    os.kill(pid, signal.SIGSTOP)
    try:
        await wait_until(lambda: not is_ready(model_server))
    finally:
        os.kill(pid, signal.SIGCONT)
    await wait_until(lambda: is_ready(model_server))
    assert get_pid(model_server) == pid


async def test_a_killed_process_restarts_with_its_models(
    model_server: ModelServer, small: BundleRef, slow: BundleRef
) -> None:
    await model_server.load(small)
    await model_server.load(slow)
    killed = get_pid(model_server)
    tasks = [asyncio.create_task(model_server.predict(slow, make_images(8, 128))) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(killed, signal.SIGKILL)
    for outcome in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Unavailable)
            assert outcome.extra["retry_after_s"] >= 1
    await wait_until(lambda: not is_ready(model_server) or get_pid(model_server) != killed)
    if not is_ready(model_server):
        with pytest.raises(Unavailable):
            model_server.admit(small, 1).__enter__()
        with pytest.raises(ServiceError):
            await model_server.predict(small, make_images(1))
    await wait_until(lambda: is_ready(model_server) and model_server.is_loaded(small) and model_server.is_loaded(slow))
    assert get_pid(model_server) != killed
    assert len(await model_server.predict(small, make_images(2))) == 2


async def test_several_servers_share_one_process_which_restarts_with_the_next_owner(
    storage: LocalStorage, small: BundleRef, tmp_path: Path
) -> None:
    both = [
        ModelServer(storage, InferenceProcessPool("cpu", tmp_path), max_batch_size=4, max_waiting=64, max_loaded=4)
        for _ in (1, 2)
    ]
    for one in both:
        await one.start()
        await wait_until(lambda one=one: is_ready(one))  # type: ignore[misc]  # bound at once
    assert len({get_pid(one) for one in both}) == 1
    samples = make_images(3)
    results = [stack_scores(await one.predict(small, samples)) for one in both]
    np.testing.assert_array_equal(results[0], results[1])
    first, second = both
    before = get_pid(second)
    await first.close()
    await wait_until(lambda: is_ready(second) and second.is_loaded(small) and get_pid(second) != before)
    np.testing.assert_array_equal(stack_scores(await second.predict(small, samples)), results[0])
    await second.close()


async def test_the_process_ends_with_its_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=Path.cwd()) as owner:
        assert owner.stdout is not None
        try:
            pid = int(owner.stdout.readline())
            assert is_alive(pid)
        finally:
            owner.kill()
    wait_for(lambda: not is_alive(pid), "the end of the process")


async def test_the_process_logs_at_the_level_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "level", logging.DEBUG)
    for parent in ({}, {"CANDELA_LOG_LEVEL": "warning"}):
        assert build_environment(parent)["CANDELA_LOG_LEVEL"] == "DEBUG"


async def test_the_environment_has_allocator_settings_and_no_secrets() -> None:
    environment = build_environment(CREDENTIALS | {"GOMP_SPINCOUNT": "7", "A": "b", "C": "d"}, ["A"])
    assert find_credentials(environment) == []
    assert (environment["A"], environment["GOMP_SPINCOUNT"], environment["MALLOC_TRIM_THRESHOLD_"]) == (
        "b",
        "7",
        str(2**32),
    )
    assert "C" not in environment
