"""The protocol's service with real networks: what is loaded, what is computed, and for whom."""

import time
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from app.inference.batcher import Batcher
from app.inference.types import Request
from app.services.prediction.inference import InferenceService, InstanceError
from app.services.prediction.version_cache import VersionCache
from app.serving.decoding import Decoder
from app.serving.model_server import ModelServer
from core.db.session import SessionFactory
from core.errors import Conflict, CorruptFile, DeadlineExceeded, InvalidImage, NotFound, ServiceError
from core.storage import LocalStorage
from tests.support.bundles import register, set_alias
from tests.support.images import encode_image, random_pixels
from tests.support.networks import LocalNetworks

IMAGES = np.stack([random_pixels(seed, 8, 8, 1).reshape(8, 8, 1) for seed in (0, 1)])


@pytest.fixture
async def inference(sqlite_sessions: SessionFactory, storage: LocalStorage) -> AsyncIterator[InferenceService]:
    """A service that knows `shapes` with versions 1 and 2, and `other`."""
    for name, version in (("shapes", 1), ("shapes", 2), ("other", 1)):
        register(sqlite_sessions, storage, name, version, seed=version)
    predictors = ModelServer(storage, LocalNetworks(), max_batch_size=4, max_waiting=8, max_loaded=4)
    decoder = Decoder(max_waiting=8, max_bytes=2**20, max_pixels=10_000)
    yield InferenceService(
        sqlite_sessions, VersionCache(sqlite_sessions, ttl_s=0), decoder, predictors, max_batch_size=4
    )
    decoder.close()
    await predictors.close()


async def ask(inference: InferenceService, images: Any, *, seconds_left: float | None = None) -> Any:
    deadline = None if seconds_left is None else time.monotonic() + seconds_left
    return await inference.infer(await inference.find_model("shapes"), images, deadline=deadline)


async def reasons(inference: InferenceService) -> dict[tuple[str, int], str | None]:
    return {(served.name, served.version): reason for served, reason in await inference.list_models()}


async def test_a_version_is_found_by_number_by_alias_and_by_default(
    inference: InferenceService, sqlite_sessions: SessionFactory
) -> None:
    set_alias(sqlite_sessions, "shapes", "champion", 1)
    found = [(await inference.find_model("shapes", version)).version for version in ("", "1", "champion", "latest")]
    assert found == [2, 1, 1, 2]
    assert [served.version for served in await inference.list_versions("shapes")] == [1, 2]
    with pytest.raises(NotFound):
        await inference.find_model("shapes", "rookie")


async def test_files_and_pixels_of_the_same_images_have_the_same_scores(inference: InferenceService) -> None:
    files = [encode_image(picture[:, :, 0]) for picture in IMAGES]
    scores = await ask(inference, IMAGES)
    assert scores.shape == (2, 3)
    np.testing.assert_allclose(await ask(inference, files), scores, rtol=1e-5)


async def test_nothing_is_computed_for_no_images_or_too_late(inference: InferenceService) -> None:
    assert (await ask(inference, IMAGES[:0])).shape == (0, 3)
    with pytest.raises(DeadlineExceeded, match="nothing was computed"):
        await ask(inference, IMAGES, seconds_left=0)
    with pytest.raises(DeadlineExceeded):
        await ask(inference, IMAGES, seconds_left=1e-9)
    assert inference.get_statistics(await inference.find_model("shapes")).batches() == []


async def test_a_level_goes_all_the_way_to_the_network(
    inference: InferenceService, monkeypatch: pytest.MonkeyPatch
) -> None:
    levels = []
    put = Batcher.put

    def remember(batcher: Batcher, request: Request) -> None:
        levels.append(request.level)
        put(batcher, request)

    monkeypatch.setattr(Batcher, "submit", remember)
    served = await inference.find_model("shapes")
    await inference.infer(served, IMAGES, deadline=None, level=1)
    await inference.infer(served, [encode_image(IMAGES[0][:, :, 0])], deadline=None, level=3)
    await inference.infer(served, IMAGES, deadline=None)
    assert levels == [1, 3, 2]


async def test_one_bad_image_is_named_and_none_is_computed(inference: InferenceService) -> None:
    with pytest.raises(InstanceError) as failure:
        await ask(inference, [encode_image(IMAGES[0][:, :, 0]), b"no picture"])
    assert failure.value.index == 1
    assert isinstance(failure.value.error, InvalidImage)
    assert inference.get_statistics(await inference.find_model("shapes")).batches() == []


async def test_the_index_says_what_is_in_memory(inference: InferenceService) -> None:
    assert set((await reasons(inference)).values()) == {"is loaded when it is asked for"}
    await inference.load_model("shapes")
    found = await reasons(inference)
    assert found[("shapes", 2)] is None
    assert found[("shapes", 1)] == found[("other", 1)] == "is loaded when it is asked for"


async def test_a_model_unloaded_by_name_stays_so_until_it_is_loaded(inference: InferenceService) -> None:
    await ask(inference, IMAGES)
    await inference.unload_model("shapes")
    assert (await reasons(inference))[("shapes", 2)] == "unloaded"
    served = await inference.find_model("shapes")
    for attempt in (inference.ensure_loaded(served), inference.infer(served, IMAGES, deadline=None)):
        with pytest.raises(Conflict, match="load it first"):
            await attempt
    assert (await reasons(inference))[("other", 1)] != "unloaded"
    await inference.load_model("shapes")
    assert (await ask(inference, IMAGES)).shape == (2, 3)


async def test_what_does_not_exist_is_neither_loaded_nor_unloaded(inference: InferenceService) -> None:
    with pytest.raises(NotFound):
        await inference.load_model("dogs")
    with pytest.raises(NotFound):
        await inference.unload_model("dogs")


async def test_a_model_that_cannot_be_loaded_stays_unloaded(inference: InferenceService, storage: LocalStorage) -> None:
    await inference.unload_model("other")
    storage.delete("jobs/other-1/bundle")
    with pytest.raises(ServiceError) as failure:
        await inference.load_model("other")
    assert isinstance(failure.value, CorruptFile | NotFound)
    assert (await reasons(inference))[("other", 1)] == "unloaded"


async def test_counts_survive_the_network_that_they_count(inference: InferenceService) -> None:
    await ask(inference, IMAGES)
    await inference.unload_model("shapes")
    await inference.load_model("shapes")
    await ask(inference, IMAGES[:1])
    tally = inference.get_statistics(await inference.find_model("shapes"))
    assert [(size, duration.count) for size, duration in tally.batches()] == [(1, 1), (2, 1)]
    assert (tally.success.count, tally.fail.count, tally.queue.count) == (2, 0, 2)


async def test_what_a_version_takes_in_memory_is_told_while_it_is_there(
    inference: InferenceService, storage: LocalStorage
) -> None:
    served = await inference.find_model("shapes")
    assert inference.get_memory_usage(served) == {}
    await inference.load_model("shapes")
    weights = load_file(storage.path("jobs/shapes-2/bundle/weights.safetensors"))
    assert inference.get_memory_usage(served) == {"cpu": sum(tensor.nbytes for tensor in weights.values())}
    await inference.unload_model("shapes")
    assert inference.get_memory_usage(served) == {}


async def test_the_decoding_of_files_is_counted_and_pixels_need_none(inference: InferenceService) -> None:
    tally = inference.get_statistics(await inference.find_model("shapes"))
    await ask(inference, IMAGES)
    assert tally.decode.count == 0
    await ask(inference, [encode_image(picture[:, :, 0]) for picture in IMAGES])
    assert tally.decode.count == 1
    assert tally.decode.ns > 0
