"""The inference service with real networks."""

import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from app.inference.batcher import DynamicBatcher
from app.inference.types import Request
from app.services.prediction.inference import NOT_LOADED_REASON, InferenceService, InstanceError
from app.services.prediction.version_cache import VersionCache
from app.serving.decoding import Decoder
from app.serving.model_server import ModelServer
from core.db.session import SessionFactory
from core.errors import Conflict, CorruptFile, DeadlineExceeded, InvalidImage, NotFound, ServiceError
from core.storage import LocalStorage
from tests.support.bundles import register_model, set_alias
from tests.support.images import encode_image, random_pixels
from tests.support.local_backend import LocalBackend

IMAGES = np.stack([random_pixels(seed, 8, 8, 1).reshape(8, 8, 1) for seed in (0, 1)])


@pytest.fixture
async def inference(sqlite_sessions: SessionFactory, storage: LocalStorage) -> AsyncIterator[InferenceService]:
    """A service with the models `shapes`, of versions 1 and 2, and `other`."""
    for name, version in (("shapes", 1), ("shapes", 2), ("other", 1)):
        register_model(sqlite_sessions, storage, name, version, seed=version)
    model_server = ModelServer(storage, LocalBackend(), max_batch_size=4, max_waiting=8, max_loaded=4)
    decoder = Decoder(max_waiting=8, max_bytes=2**20, max_pixels=10_000)
    yield InferenceService(
        sqlite_sessions, VersionCache(sqlite_sessions, ttl_s=0), decoder, model_server, max_batch_size=4, unloaded=set()
    )
    decoder.close()
    await model_server.close()


async def run_inference(inference: InferenceService, images: Any, *, seconds_left: float | None = None) -> Any:
    deadline = None if seconds_left is None else time.monotonic() + seconds_left
    return await inference.infer(await inference.find_model("shapes"), images, deadline=deadline)


async def list_reasons(inference: InferenceService) -> dict[tuple[str, int], str | None]:
    return {(model.name, model.version): reason for model, reason in await inference.list_models()}


async def test_version_is_found_by_number_alias_or_default(
    inference: InferenceService, sqlite_sessions: SessionFactory
) -> None:
    set_alias(sqlite_sessions, "shapes", "champion", 1)
    versions = [(await inference.find_model("shapes", version)).version for version in ("", "1", "champion", "latest")]
    assert versions == [2, 1, 1, 2]
    assert [model.version for model in await inference.list_versions("shapes")] == [1, 2]
    with pytest.raises(NotFound):
        await inference.find_model("shapes", "rookie")


async def test_files_and_pixels_of_the_same_images_have_the_same_scores(inference: InferenceService) -> None:
    files = [encode_image(image[:, :, 0]) for image in IMAGES]
    scores = await run_inference(inference, IMAGES)
    assert scores.shape == (2, 3)
    np.testing.assert_allclose(await run_inference(inference, files), scores, rtol=1e-5)


async def test_empty_or_late_request_computes_nothing(inference: InferenceService) -> None:
    assert (await run_inference(inference, IMAGES[:0])).shape == (0, 3)
    with pytest.raises(DeadlineExceeded, match="before all samples were computed"):
        await run_inference(inference, IMAGES, seconds_left=0)
    with pytest.raises(DeadlineExceeded):
        await run_inference(inference, IMAGES, seconds_left=1e-9)
    assert inference.get_statistics(await inference.find_model("shapes")).list_batches() == []


async def test_priority_level_reaches_the_batcher(inference: InferenceService, monkeypatch: pytest.MonkeyPatch) -> None:
    levels = []
    put = DynamicBatcher.put

    def record(batcher: DynamicBatcher, request: Request) -> None:
        levels.append(request.priority)
        put(batcher, request)

    monkeypatch.setattr(DynamicBatcher, "put", record)
    model = await inference.find_model("shapes")
    await inference.infer(model, IMAGES, deadline=None, level=1)
    await inference.infer(model, [encode_image(IMAGES[0][:, :, 0])], deadline=None, level=3)
    await inference.infer(model, IMAGES, deadline=None)
    assert levels == [1, 3, 2]


async def test_one_invalid_image_fails_the_request_with_its_index(inference: InferenceService) -> None:
    with pytest.raises(InstanceError) as raised:
        await run_inference(inference, [encode_image(IMAGES[0][:, :, 0]), b"no image"])
    assert raised.value.index == 1
    assert isinstance(raised.value.error, InvalidImage)
    assert inference.get_statistics(await inference.find_model("shapes")).list_batches() == []


async def test_index_lists_what_is_loaded(inference: InferenceService) -> None:
    assert set((await list_reasons(inference)).values()) == {NOT_LOADED_REASON}
    await inference.load_model("shapes")
    reasons = await list_reasons(inference)
    assert reasons[("shapes", 2)] is None
    assert reasons[("shapes", 1)] == reasons[("other", 1)] == NOT_LOADED_REASON


async def test_unloaded_model_stays_unloaded_until_it_is_loaded(inference: InferenceService) -> None:
    await run_inference(inference, IMAGES)
    await inference.unload_model("shapes")
    assert (await list_reasons(inference))[("shapes", 2)] == "unloaded"
    model = await inference.find_model("shapes")
    for attempt in (inference.ensure_ready(model), inference.infer(model, IMAGES, deadline=None)):
        with pytest.raises(Conflict, match="load it first"):
            await attempt
    assert (await list_reasons(inference))[("other", 1)] != "unloaded"
    await inference.load_model("shapes")
    assert (await run_inference(inference, IMAGES)).shape == (2, 3)


async def test_all_variants_and_outputs_of_a_model_are_unloaded(
    inference: InferenceService,
) -> None:
    server = inference._model_server
    first, second = [model.bundle for model in await inference.list_versions("shapes")]
    (other,) = [model.bundle for model in await inference.list_versions("other")]
    loaded = [first._replace(version="1-fp16"), second, second.with_output("embedding")]
    checkpoint = other._replace(model="shapes", version="")
    for bundle in (*loaded, checkpoint):
        await server.load(bundle)
    assert all(server.is_loaded(bundle) for bundle in (*loaded, checkpoint))
    await inference.unload_model("shapes")
    assert not any(server.is_loaded(bundle) for bundle in loaded)
    assert server.is_loaded(checkpoint)


async def test_unknown_model_cannot_be_loaded_or_unloaded(inference: InferenceService) -> None:
    with pytest.raises(NotFound):
        await inference.load_model("dogs")
    with pytest.raises(NotFound):
        await inference.unload_model("dogs")


async def test_model_that_fails_to_load_stays_unloaded(inference: InferenceService, storage: LocalStorage) -> None:
    await inference.unload_model("other")
    storage.delete("jobs/other-1/bundle")
    with pytest.raises(ServiceError) as raised:
        await inference.load_model("other")
    assert isinstance(raised.value, CorruptFile | NotFound)
    assert (await list_reasons(inference))[("other", 1)] == "unloaded"


async def test_statistics_survive_unloading(inference: InferenceService) -> None:
    await run_inference(inference, IMAGES)
    await inference.unload_model("shapes")
    await inference.load_model("shapes")
    await run_inference(inference, IMAGES[:1])
    statistics = inference.get_statistics(await inference.find_model("shapes"))
    assert [(size, duration.count) for size, duration in statistics.list_batches()] == [(1, 1), (2, 1)]
    assert (statistics.success.count, statistics.fail.count, statistics.queue.count) == (2, 0, 2)


async def test_memory_usage_is_that_of_loaded_versions(inference: InferenceService, storage: LocalStorage) -> None:
    model = await inference.find_model("shapes")
    assert inference.get_memory_usage(model) == {}
    await inference.load_model("shapes")
    weights = load_file(storage.fetch_file("jobs/shapes-2/bundle/weights.safetensors"))
    assert inference.get_memory_usage(model) == {"cpu": sum(tensor.nbytes for tensor in weights.values())}
    await inference.unload_model("shapes")
    assert inference.get_memory_usage(model) == {}


async def test_decoding_is_measured_for_files_only(inference: InferenceService) -> None:
    model = await inference.find_model("shapes")
    await run_inference(inference, IMAGES)
    assert inference.get_statistics(model).decode.count == 0
    await run_inference(inference, [encode_image(image[:, :, 0]) for image in IMAGES])
    assert inference.get_statistics(model).decode.count == 1
    assert inference.get_statistics(model).decode.ns > 0
