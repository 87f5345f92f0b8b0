"""Real networks from real bundles: the same answer alone, together, and as the network itself gives."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.serving.model_server import ModelServer
from app.serving.types import BundleRef, Pixels
from core.errors import CorruptFile, PredictionFailed, ServiceError
from core.storage import LocalStorage
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.networks import LocalNetworks


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage.at(str(tmp_path / "store"))


@pytest.fixture
async def predictors(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    predictors = ModelServer(storage, LocalNetworks(), max_batch_size=8, max_waiting=64, max_loaded=2)
    yield predictors
    await predictors.close()


def pictures(number: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (number, 8, 8, 1), dtype=np.uint8))


async def ask(predictors: ModelServer, ref: BundleRef, some: list[Pixels]) -> np.ndarray:
    outcomes = await predictors.predict(ref, some)
    assert not any(isinstance(outcome, ServiceError) for outcome in outcomes)
    return np.stack(outcomes)  # type: ignore[arg-type]  # no error among them


async def test_scores_are_the_networks_own(predictors: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    words = bundles.description()
    some = pictures(5)
    with torch.inference_mode():
        images = Preprocess(words.mean, words.std)(torch.from_numpy(np.stack(some)))
        expected = bundles.network(words)(images)
    # Another batch size may choose another kernel: float32 sums in another order.
    np.testing.assert_allclose(await ask(predictors, ref, some), expected, atol=1e-5)


async def test_concurrent_requests_are_answered_as_lone_ones_are(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    some = pictures(60)
    alone = np.concatenate([await ask(predictors, ref, [one]) for one in some])
    together = np.concatenate(await asyncio.gather(*(ask(predictors, ref, [one]) for one in some)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


async def test_models_do_not_mix(predictors: ModelServer, storage: LocalStorage) -> None:
    refs = [bundles.store(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(2)]
    some = pictures(10)
    expected = [await ask(predictors, ref, some) for ref in refs]
    found = await asyncio.gather(*(ask(predictors, refs[n % 2], some) for n in range(6)))
    assert not np.allclose(expected[0], expected[1])
    for n, scores in enumerate(found):
        np.testing.assert_allclose(scores, expected[n % 2], atol=1e-5)


async def test_a_model_that_left_memory_is_loaded_again(predictors: ModelServer, storage: LocalStorage) -> None:
    refs = [bundles.store(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(4)]
    some = pictures(2)
    first = await ask(predictors, refs[0], some)
    for ref in refs[1:]:
        await ask(predictors, ref, some)
    assert not predictors.is_loaded(refs[0])
    np.testing.assert_array_equal(await ask(predictors, refs[0], some), first)


async def test_more_models_than_fit_in_memory_are_all_answered_at_once(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    refs = [bundles.store(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(2)]
    other = bundles.store(storage, "jobs/9/bundle", seed=9)
    for ref in refs:
        await predictors.load(ref)
    found = await asyncio.gather(*(ask(predictors, ref, pictures(3)) for ref in [*refs, other]))
    assert [scores.shape for scores in found] == [(3, 3)] * 3


@pytest.mark.parametrize("file", ["weights.safetensors", "bundle.json"])
async def test_a_damaged_file_is_told_as_such(predictors: ModelServer, storage: LocalStorage, file: str) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    path = storage.path(f"jobs/a/bundle/{file}")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFile):
        await predictors.predict(ref, pictures(1))


async def test_a_missing_bundle_is_told_as_such(predictors: ModelServer) -> None:
    with pytest.raises(CorruptFile):
        await predictors.predict(BundleRef("jobs/none/bundle", (("weights.safetensors", "0"),), "m"), pictures(1))


async def test_an_image_of_another_shape_costs_only_its_own_place(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    some = pictures(8)
    expected = await ask(predictors, ref, some)
    some[3] = np.zeros((9, 8, 1), np.uint8)
    outcomes = await predictors.predict(ref, some)
    assert isinstance(outcomes[3], PredictionFailed)
    for n, outcome in enumerate(outcomes):
        if n != 3:
            np.testing.assert_allclose(outcome, expected[n], atol=1e-5)  # type: ignore[arg-type]  # no error here


async def test_what_was_done_is_counted(predictors: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    await ask(predictors, ref, pictures(3))
    await predictors.predict(ref, [np.zeros((9, 8, 1), np.uint8)])
    tally = predictors.tally(ref)
    assert (tally.success.count, tally.fail.count) == (1, 1)
    assert sum(size * how_often.count for size, how_often in tally.batches()) == 4


async def test_what_was_loaded_to_look_into_a_network_is_part_of_its_memory(
    predictors: ModelServer, storage: LocalStorage
) -> None:
    ref = bundles.store(storage, "jobs/a/bundle", architecture={"name": "convnet", "options": {"channels": [4]}})
    await predictors.load(ref)
    (alone,) = predictors.num_bytes(ref).values()
    await predictors.load(ref.with_output("embedding"))
    assert alone > 0
    assert predictors.num_bytes(ref) == {"cpu": 2 * alone}


@pytest.mark.parametrize("precision", ["bf16", "auto"])
async def test_half_the_bits_say_the_same_within_their_precision(storage: LocalStorage, precision: str) -> None:
    ref = bundles.store(storage, "jobs/a/bundle")
    some, found = pictures(8), []
    for each in ("fp32", precision):
        predictors = ModelServer(
            storage, LocalNetworks(), max_batch_size=8, max_waiting=64, max_loaded=2, precision=each
        )
        found.append(await ask(predictors, ref, some))
        await predictors.close()
    np.testing.assert_allclose(found[1], found[0], atol=0.02)
