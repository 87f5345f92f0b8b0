"""Predictions of registered models: probabilities, cancellation and overload."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest

from app.services.prediction.predictions import (
    SMALL_NUM_CLASSES,
    Classification,
    PredictionService,
    compute_probabilities,
    select_top_classes,
)
from app.services.prediction.version_cache import VersionCache
from app.serving.decoding import Decoder, PixelValues
from app.serving.rollover import VersionRollover
from app.state import State
from core.errors import Overloaded
from tests.support import bundles
from tests.support.fakes import Clock

IMAGE = PixelValues(np.zeros((8, 8)).tolist())


@pytest.fixture
async def predictions(state: State, version_cache: VersionCache) -> AsyncIterator[PredictionService]:
    decoder = Decoder(max_waiting=256, max_bytes=10_000, max_pixels=10_000)
    yield PredictionService(version_cache, decoder, state.model_server)
    await state.model_server.close()
    decoder.close()


async def test_no_request_is_lost_when_an_alias_moves_under_load(
    state: State, predictions: PredictionService, clock: Clock
) -> None:
    async def predict() -> int:
        return (await predictions.predict("shapes@champion", [IMAGE], 1)).version

    predictions._rollover = VersionRollover(
        state.model_server, wait_s=60
    )  # the old version serves while the new one is loaded
    before = await predict()
    tasks = [asyncio.create_task(predict()) for _ in range(30)]
    await asyncio.sleep(0)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += 1
    tasks += [asyncio.create_task(predict()) for _ in range(30)]
    versions = await asyncio.gather(*tasks)
    assert (before, set(versions), versions[-1]) == (1, {1, 2}, 2)


async def test_concurrent_requests_have_the_same_predictions_as_single_ones(predictions: PredictionService) -> None:
    instances = [PixelValues(np.full((8, 8), level).tolist()) for level in range(0, 250, 10)]

    async def predict(image: PixelValues) -> list[tuple[str, float]]:
        (prediction,) = (await predictions.predict("shapes", [image], 3)).predictions
        assert isinstance(prediction, Classification)
        return sorted((candidate.label, candidate.probability) for candidate in prediction.candidates)

    single = [await predict(instance) for instance in instances]
    concurrent = await asyncio.gather(*(predict(instance) for instance in instances))
    for first, second in zip(single, concurrent, strict=True):
        assert [label for label, _ in first] == [label for label, _ in second]
        assert [p for _, p in first] == pytest.approx([p for _, p in second], abs=1e-5)


async def test_excess_requests_are_rejected_with_a_retry_time(state: State, predictions: PredictionService) -> None:
    await predictions.predict("shapes", [IMAGE], None)
    most = state.model_server.max_waiting
    tasks = [predictions.predict("shapes", [IMAGE] * most, None) for _ in range(4)]
    results = await asyncio.gather(*tasks, return_exceptions=True)
    rejected = [result for result in results if isinstance(result, BaseException)]
    assert rejected
    assert len(rejected) < len(results)
    assert all(isinstance(error, Overloaded) and error.extra["retry_after_s"] >= 1 for error in rejected)
    assert len((await predictions.predict("shapes", [IMAGE], None)).predictions) == 1


async def test_cancelled_request_frees_its_queue_capacity(state: State, predictions: PredictionService) -> None:
    bundle = (await predictions._version_cache.get("shapes")).bundle
    tasks = [asyncio.create_task(predictions.predict("shapes", [IMAGE], None)) for _ in range(10)]
    await asyncio.sleep(0)
    admission = state.model_server._monitors.get(bundle).admission
    assert admission.num_in_flight == 10
    for task in tasks:
        task.cancel()
    assert all(
        isinstance(result, asyncio.CancelledError) for result in await asyncio.gather(*tasks, return_exceptions=True)
    )
    assert (admission.num_in_flight, predictions._decoder._num_waiting) == (0, 0)
    assert len((await predictions.predict("shapes", [IMAGE], None)).predictions) == 1


@pytest.mark.parametrize("scores", [[1000.0, 0.0, -1000.0], [-1e30, 0.0, 1e30], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_probabilities_are_finite_for_extreme_scores(task: str, scores: list[float]) -> None:
    probabilities = compute_probabilities(task, np.array(scores, np.float32))
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    assert (probabilities <= 1).all()
    if task == "classification":
        assert probabilities.sum() == pytest.approx(1)


@pytest.mark.parametrize("num_classes", [1, 2, SMALL_NUM_CLASSES, SMALL_NUM_CLASSES + 1, 1000])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_top_classes_are_in_descending_order(task: str, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    for scale in (1, 1e3, 1e30):
        scores = (rng.integers(-3, 3, num_classes) * scale).astype(np.float32)  # many scores are equal
        probabilities = compute_probabilities(task, scores)
        results = select_top_classes(task, scores, 5)
        assert [index for index, _ in results] == sorted(range(num_classes), key=lambda index: -probabilities[index])[
            :5
        ]
        assert [probability for _, probability in results] == pytest.approx(
            [probabilities[index] for index, _ in results]
        )


def test_binary_network_has_one_or_two_outputs() -> None:
    assert compute_probabilities("binary", np.array([0.0], np.float32)).tolist() == [0.5, 0.5]
    assert compute_probabilities("binary", np.array([0.0, 0.0], np.float32)).tolist() == [0.5, 0.5]
