"""Models of stored bundles: scores, batching, eviction, errors and statistics."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch

from app.serving.model_cache import OVERHEAD_BYTES
from app.serving.model_server import ModelServer
from app.serving.types import BundleRef, Pixels
from core.errors import CorruptFile, PredictionFailed, ServiceError
from core.storage import LocalStorage
from models.preprocess import Preprocess
from tests.support import bundles
from tests.support.local_backend import LocalBackend


@pytest.fixture
def storage(tmp_path: Path) -> LocalStorage:
    return LocalStorage.open_folder(str(tmp_path / "store"))


@pytest.fixture
async def model_server(storage: LocalStorage) -> AsyncIterator[ModelServer]:
    model_server = ModelServer(storage, LocalBackend(), max_batch_size=8, max_waiting=64, max_loaded=2)
    yield model_server
    await model_server.close()


def make_images(number: int) -> list[Pixels]:
    return list(np.random.default_rng(0).integers(0, 256, (number, 8, 8, 1), dtype=np.uint8))


async def predict_scores(model_server: ModelServer, ref: BundleRef, samples: list[Pixels]) -> np.ndarray:
    outcomes = await model_server.predict(ref, samples)
    assert not any(isinstance(outcome, ServiceError) for outcome in outcomes)
    return np.stack(outcomes)  # type: ignore[arg-type]  # every outcome has scores


async def test_scores_are_those_of_the_network(model_server: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    description = bundles.build_description()
    samples = make_images(5)
    with torch.inference_mode():
        images = Preprocess(description.mean, description.std)(torch.from_numpy(np.stack(samples)))
        expected = bundles.build_network(description)(images)
    # The kernel, and with it the order of float32 sums, depends on the batch size.
    np.testing.assert_allclose(await predict_scores(model_server, ref, samples), expected, atol=1e-5)


async def test_concurrent_requests_have_the_scores_of_single_ones(
    model_server: ModelServer, storage: LocalStorage
) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    samples = make_images(60)
    alone = np.concatenate([await predict_scores(model_server, ref, [one]) for one in samples])
    together = np.concatenate(await asyncio.gather(*(predict_scores(model_server, ref, [one]) for one in samples)))
    np.testing.assert_allclose(together, alone, atol=1e-5)


async def test_concurrent_requests_to_two_models_do_not_mix(model_server: ModelServer, storage: LocalStorage) -> None:
    refs = [bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(2)]
    samples = make_images(10)
    expected = [await predict_scores(model_server, ref, samples) for ref in refs]
    found = await asyncio.gather(*(predict_scores(model_server, refs[n % 2], samples) for n in range(6)))
    assert not np.allclose(expected[0], expected[1])
    for n, scores in enumerate(found):
        np.testing.assert_allclose(scores, expected[n % 2], atol=1e-5)


async def test_an_evicted_model_is_loaded_again(model_server: ModelServer, storage: LocalStorage) -> None:
    refs = [bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(4)]
    samples = make_images(2)
    first = await predict_scores(model_server, refs[0], samples)
    for ref in refs[1:]:
        await predict_scores(model_server, ref, samples)
    assert not model_server.is_loaded(refs[0])
    np.testing.assert_array_equal(await predict_scores(model_server, refs[0], samples), first)


async def test_more_models_than_fit_in_memory_serve_requests(model_server: ModelServer, storage: LocalStorage) -> None:
    refs = [bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(2)]
    other = bundles.store_bundle(storage, "jobs/9/bundle", seed=9)
    for ref in refs:
        await model_server.load(ref)
    found = await asyncio.gather(*(predict_scores(model_server, ref, make_images(3)) for ref in [*refs, other]))
    assert [scores.shape for scores in found] == [(3, 3)] * 3


@pytest.mark.parametrize("file", ["weights.safetensors", "bundle.json"])
async def test_a_damaged_file_is_an_error(model_server: ModelServer, storage: LocalStorage, file: str) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    path = storage.fetch_file(f"jobs/a/bundle/{file}")
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(CorruptFile):
        await model_server.predict(ref, make_images(1))


async def test_a_missing_bundle_is_an_error(model_server: ModelServer) -> None:
    with pytest.raises(CorruptFile):
        await model_server.predict(BundleRef("jobs/none/bundle", (("weights.safetensors", "0"),), "m"), make_images(1))


async def test_an_image_of_another_shape_fails_alone(model_server: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    samples = make_images(8)
    expected = await predict_scores(model_server, ref, samples)
    samples[3] = np.zeros((9, 8, 1), np.uint8)
    outcomes = await model_server.predict(ref, samples)
    assert isinstance(outcomes[3], PredictionFailed)
    for n, outcome in enumerate(outcomes):
        if n != 3:
            np.testing.assert_allclose(outcome, expected[n], atol=1e-5)  # type: ignore[arg-type]  # not an error


async def test_statistics_count_requests_and_batches(model_server: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    await predict_scores(model_server, ref, make_images(3))
    await model_server.predict(ref, [np.zeros((9, 8, 1), np.uint8)])
    statistics = model_server.get_statistics(ref)
    assert (statistics.success.count, statistics.fail.count) == (1, 1)
    assert sum(size * duration.count for size, duration in statistics.list_batches()) == 4


async def test_statistics_of_a_model_without_requests_are_empty(
    model_server: ModelServer, storage: LocalStorage
) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    assert model_server.get_statistics(ref).success.count == 0
    assert model_server.list_bundles() == []


async def test_api_processes_share_the_memory_of_models(storage: LocalStorage) -> None:
    refs = [bundles.store_bundle(storage, f"jobs/{seed}/bundle", seed=seed) for seed in range(4)]
    loaded = []
    for num_http_processes in (1, 2):
        model_server = ModelServer(
            storage,
            LocalBackend(),
            max_batch_size=8,
            max_waiting=64,
            max_loaded=100,
            max_bytes=4 * OVERHEAD_BYTES,
            num_http_processes=num_http_processes,
        )
        for ref in refs:
            await model_server.load(ref)
        loaded.append(sum(map(model_server.is_loaded, refs)))
        await model_server.close()
    assert loaded == [3, 1]


async def test_memory_includes_every_loaded_output(model_server: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle", architecture={"name": "convnet", "options": {"channels": [4]}})
    await model_server.load(ref)
    (alone,) = model_server.get_memory_bytes(ref).values()
    await model_server.load(ref.with_output("embedding"))
    assert alone > 0
    assert model_server.get_memory_bytes(ref) == {"cpu": 2 * alone}


@pytest.mark.parametrize("precision", ["bf16", "auto"])
async def test_bf16_scores_are_close_to_fp32(storage: LocalStorage, precision: str) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle")
    samples, found = make_images(8), []
    for each in ("fp32", precision):
        model_server = ModelServer(
            storage, LocalBackend(), max_batch_size=8, max_waiting=64, max_loaded=2, precision=each
        )
        found.append(await predict_scores(model_server, ref, samples))
        await model_server.close()
    np.testing.assert_allclose(found[1], found[0], atol=0.02)


async def test_the_target_is_the_class_of_the_heatmap(model_server: ModelServer, storage: LocalStorage) -> None:
    ref = bundles.store_bundle(storage, "jobs/a/bundle").with_output("attention")
    images = make_images(1) * 3
    heatmaps = np.stack(await model_server.predict(ref, images, targets=[0, 1, 2]))[:, 3:]  # type: ignore[arg-type]
    assert not np.allclose(heatmaps[0], heatmaps[1])
    assert not np.allclose(heatmaps[1], heatmaps[2])
