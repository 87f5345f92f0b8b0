"""The real process with the networks: the same answers, and what happens when it dies, is frozen or its owner dies."""

import asyncio
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
from app.serving.process import environment
from app.serving.process_pool import InferenceProcessPool
from app.serving.types import BundleRef, Outcome, Pixels, Scores
from core.errors import CorruptFile, PredictionFailed, ServiceError, Unavailable
from core.storage import LocalStorage
from tests.support import bundles, processes
from tests.support.networks import LocalNetworks
from tests.support.processes import is_alive, wait_for

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

SLOW: dict[str, Any] = {  # a batch of it takes long on any machine
    "architecture": {"name": "convnet", "options": {"channels": [256, 256], "kernel": 5}},
    "image_shape": (1, 128, 128),
}
PATIENCE_S = 120
OWNER = """
import asyncio
from app.serving.process_pool import Processes
from core.logging import configure_logging
configure_logging()
async def main():
    processes = Processes("cpu")
    await processes.start(lambda: print(*processes.pids, flush=True), lambda: None)
    await asyncio.sleep(300)
asyncio.run(main())
"""


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> LocalStorage:
    return LocalStorage.at(str(tmp_path_factory.mktemp("store")))


@pytest.fixture(scope="module")
def small(storage: LocalStorage) -> BundleRef:
    return bundles.store(storage, "jobs/small/bundle")


@pytest.fixture(scope="module")
def slow(storage: LocalStorage) -> BundleRef:
    return bundles.store(storage, "jobs/slow/bundle", **SLOW)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def predictors(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    predictors = ModelServer(storage, InferenceProcessPool("cpu"), max_batch_size=4, max_waiting=64, max_loaded=4)
    await predictors.start()
    await until(lambda: is_ready(predictors))
    yield predictors
    await predictors.close()


async def until(holds: Callable[[], bool], what: str = "the networks' process") -> None:
    """As `wait_for`, for what is to be asked on the event loop."""
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        if time.monotonic() > deadline:
            raise TimeoutError(f"waited {PATIENCE_S} s for {what}")
        await asyncio.sleep(0.01)


def is_ready(predictors: ModelServer) -> bool:
    try:
        predictors.networks.check_ready()
    except Unavailable:
        return False
    return True


def pid_of(predictors: ModelServer) -> int:
    (facts,) = predictors.networks.facts()
    return int(facts["pid"])


def link_of(predictors: ModelServer) -> InferenceClient:
    assert isinstance(predictors.networks, InferenceProcessPool)
    return predictors.networks._processes[0].ready_link()


def images(number: int, side: int = 8) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (number, side, side, 1), dtype=np.uint8))


def num_computed(predictors: ModelServer, bundle: BundleRef) -> int:
    return sum(size * duration.count for size, duration in predictors.tally(bundle).batches())


@asynccontextmanager
async def standing_still(predictors: ModelServer) -> AsyncIterator[None]:
    """The networks read nothing until all that is asked meanwhile lies before them."""
    with processes.standing_still(pid_of(predictors)):
        yield
        await asyncio.sleep(0.05)  # all have asked, or left
        await until(lambda: not link_of(predictors)._held)  # what was held back to go along with more has been sent


def scores(outcomes: list[Outcome]) -> Scores:
    assert not any(isinstance(outcome, ServiceError) for outcome in outcomes)
    return np.stack(outcomes)  # type: ignore[arg-type]  # no error among them


async def test_it_answers_as_the_networks_do_here(
    predictors: ModelServer, storage: LocalStorage, small: BundleRef
) -> None:
    here = ModelServer(storage, LocalNetworks(), max_batch_size=4, max_waiting=64, max_loaded=4)
    some = images(9)
    wanted = scores(await here.predict(small, some))
    np.testing.assert_allclose(scores(await predictors.predict(small, some)), wanted, atol=1e-5)
    alone = await asyncio.gather(*(predictors.predict(small, [one]) for one in some))
    np.testing.assert_allclose(scores([one for (one,) in alone]), wanted, atol=1e-5)
    tally = predictors.tally(small)
    assert (tally.success.count, tally.queue.count) == (10, 10)
    assert num_computed(predictors, small) == 18
    await here.close()


async def test_what_waits_on_a_lower_level_is_computed_first(predictors: ModelServer, slow: BundleRef) -> None:
    await predictors.load(slow)
    answered: list[int] = []

    async def ask(level: int) -> None:
        await predictors.predict(slow, images(3, side=128), level=level)
        answered.append(level)

    async with standing_still(predictors):
        first = asyncio.create_task(predictors.predict(slow, images(4, side=128)))
        asked = [asyncio.create_task(ask(level)) for level in (3, 2, 1)]
    await asyncio.gather(first, *asked)
    assert answered == [1, 2, 3]  # the first alone may have begun before the others were read


async def test_an_image_of_another_shape_costs_only_its_own_place(predictors: ModelServer, small: BundleRef) -> None:
    some = images(3)
    some[1] = np.zeros((9, 8, 1), np.uint8)
    outcomes = await predictors.predict(small, some)
    assert [isinstance(one, PredictionFailed) for one in outcomes] == [False, True, False]


async def test_scores_that_are_not_finite_are_an_error_in_their_place(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    mad = bundles.store(storage, "jobs/mad/bundle", mean=[-3e38], std=[1e-5])
    for number in (1, 3):
        outcomes = await predictors.predict(mad, images(number))
        assert [isinstance(one, PredictionFailed) for one in outcomes] == [True] * number


async def test_files_that_make_no_network_are_told_as_such(predictors: ModelServer, storage: LocalStorage) -> None:
    folder = storage.scratch() / "bundle"
    folder.mkdir()
    (folder / "bundle.json").write_text("{}")
    storage.publish(folder, "jobs/odd/bundle")
    with pytest.raises(CorruptFile):
        await predictors.load(BundleRef("jobs/odd/bundle", (), "odd"))


async def test_it_says_what_could_be_built(predictors: ModelServer) -> None:
    here, there = LocalNetworks(), predictors.networks
    assert dict(there.list_architectures()) == dict(here.list_architectures())
    asked: list[tuple[str, dict[str, Any]]] = [
        ("mlp", {"hidden": [7]}),
        ("mlp", {"hiden": [7]}),
        ("convnet", {"kernel": 2}),
        ("vit_b_16", {}),
        ("layers", {"layers": [{"type": "linear", "out": 3}]}),
    ]
    for name, options in asked:
        query = ArchitectureQuery(name, orjson.dumps(options), (1, 8, 8), 3)
        found: list[Any] = []
        for one in (here, there):
            try:
                found.append(await asyncio.to_thread(one.check_architecture, query))
            except InvalidArchitecture as error:
                found.append((error.errors, error.path, error.reason))
        assert found[0] == found[1]


async def test_a_caller_who_leaves_is_not_computed_and_gives_its_memory_back(
    predictors: ModelServer, slow: BundleRef
) -> None:
    await predictors.load(slow)
    before = num_computed(predictors, slow)
    async with standing_still(predictors):
        busy = asyncio.create_task(predictors.predict(slow, images(4, 128)))
        gone = asyncio.create_task(predictors.predict(slow, images(3, 128)))
        await asyncio.sleep(0)  # both have asked
        gone.cancel()
    await busy
    await predictors.predict(slow, images(1, 128))
    assert num_computed(predictors, slow) - before == 4 + 1
    assert gone.cancelled()


async def test_a_process_that_is_frozen_is_not_ready_until_it_goes_on(predictors: ModelServer) -> None:
    pid = pid_of(predictors)
    os.kill(pid, signal.SIGSTOP)
    try:
        await until(lambda: not is_ready(predictors))
    finally:
        os.kill(pid, signal.SIGCONT)
    await until(lambda: is_ready(predictors))
    assert pid_of(predictors) == pid


async def test_a_process_that_is_killed_starts_again_with_its_networks(
    predictors: ModelServer, small: BundleRef, slow: BundleRef
) -> None:
    await predictors.load(small)
    await predictors.load(slow)
    killed = pid_of(predictors)
    asked = [asyncio.create_task(predictors.predict(slow, images(8, 128))) for _ in range(3)]
    await asyncio.sleep(0.05)
    os.kill(killed, signal.SIGKILL)
    for outcome in await asyncio.gather(*asked, return_exceptions=True):
        if isinstance(outcome, BaseException):
            assert isinstance(outcome, Unavailable)
            assert outcome.facts["retry_after_s"] >= 1
    await until(lambda: not is_ready(predictors) or pid_of(predictors) != killed)
    if not is_ready(predictors):
        with pytest.raises(Unavailable):
            predictors.admit(small, 1).__enter__()
        with pytest.raises(ServiceError):
            await predictors.predict(small, images(1))
    await until(lambda: is_ready(predictors) and predictors.is_loaded(small) and predictors.is_loaded(slow))
    assert pid_of(predictors) != killed
    assert len(await predictors.predict(small, images(2))) == 2


async def test_several_who_ask_share_one_process_and_it_outlives_the_one_that_started_it(
    storage: LocalStorage, small: BundleRef, tmp_path: Path
) -> None:
    both = [
        ModelServer(storage, InferenceProcessPool("cpu", tmp_path), max_batch_size=4, max_waiting=64, max_loaded=4)
        for _ in (1, 2)
    ]
    for one in both:
        await one.start()
        await until(lambda one=one: is_ready(one))  # type: ignore[misc]  # bound at once
    assert len({pid_of(one) for one in both}) == 1
    some = images(3)
    answers = [scores(await one.predict(small, some)) for one in both]
    np.testing.assert_array_equal(answers[0], answers[1])
    first, second = both
    before = pid_of(second)
    await first.close()
    await until(lambda: is_ready(second) and second.is_loaded(small) and pid_of(second) != before)
    np.testing.assert_array_equal(scores(await second.predict(small, some)), answers[0])
    await second.close()


async def test_it_dies_with_its_owner() -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER], stdout=subprocess.PIPE, cwd=Path.cwd()) as owner:
        assert owner.stdout is not None
        try:
            pid = int(owner.stdout.readline())
            assert is_alive(pid)
        finally:
            owner.kill()
    wait_for(lambda: not is_alive(pid), "the end of the process")


async def test_it_is_given_the_allocators_settings_and_none_of_our_secrets() -> None:
    given = environment(
        {"CANDELA_API_KEYS": "secret", "CANDELA_DATABASE_URL": "secret", "GOMP_SPINCOUNT": "7", "A": "b"}
    )
    assert "secret" not in given.values()
    assert (given["A"], given["GOMP_SPINCOUNT"], given["MALLOC_TRIM_THRESHOLD_"]) == ("b", "7", str(2**32))
