"""Probabilities, and requests that come when too many wait."""

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
async def predictions(state: State, lookup: VersionCache) -> AsyncIterator[PredictionService]:
    decoder = Decoder(max_waiting=256, max_bytes=10_000, max_pixels=10_000)
    yield PredictionService(lookup, decoder, state.model_server)
    await state.model_server.close()
    decoder.close()


async def test_a_switch_of_the_alias_under_load_loses_no_request(
    state: State, predictions: PredictionService, clock: Clock
) -> None:
    async def ask() -> int:
        return (await predictions.predict("shapes@champion", [IMAGE], 1)).version

    predictions._rollover = VersionRollover(
        state.model_server, wait_s=60
    )  # where a load takes longer, the old one answers
    before = await ask()
    asking = [asyncio.create_task(ask()) for _ in range(30)]
    await asyncio.sleep(0)
    bundles.set_alias(state.sessions, "shapes", "champion", 2)
    clock.now += 1
    asking += [asyncio.create_task(ask()) for _ in range(30)]
    versions = await asyncio.gather(*asking)
    assert (before, set(versions), versions[-1]) == (1, {1, 2}, 2)


async def test_concurrent_requests_get_the_answers_of_lone_ones(predictions: PredictionService) -> None:
    sent = [PixelValues(np.full((8, 8), level).tolist()) for level in range(0, 250, 10)]

    async def ask(picture: PixelValues) -> list[tuple[str, float]]:
        (prediction,) = (await predictions.predict("shapes", [picture], 3)).predictions
        assert isinstance(prediction, Classification)
        return sorted((one.label, one.probability) for one in prediction.candidates)

    alone = [await ask(one) for one in sent]
    together = await asyncio.gather(*(ask(one) for one in sent))
    for one, other in zip(alone, together, strict=True):
        assert [label for label, _ in one] == [label for label, _ in other]
        assert [p for _, p in one] == pytest.approx([p for _, p in other], abs=1e-5)


async def test_too_many_at_once_are_refused_with_a_time_and_all_others_answered(
    state: State, predictions: PredictionService
) -> None:
    await predictions.predict("shapes", [IMAGE], None)
    most = state.model_server.max_waiting
    asking = [predictions.predict("shapes", [IMAGE] * most, None) for _ in range(4)]
    found = await asyncio.gather(*asking, return_exceptions=True)
    refused = [one for one in found if isinstance(one, BaseException)]
    assert refused
    assert len(refused) < len(found)
    assert all(isinstance(one, Overloaded) and one.facts["retry_after_s"] >= 1 for one in refused)
    assert len((await predictions.predict("shapes", [IMAGE], None)).predictions) == 1


async def test_a_request_that_is_cancelled_leaves_no_trace(state: State, predictions: PredictionService) -> None:
    bundle = (await predictions._version_cache.get("shapes")).bundle
    gone = [asyncio.create_task(predictions.predict("shapes", [IMAGE], None)) for _ in range(10)]
    await asyncio.sleep(0)
    admission = state.model_server._admission(bundle)
    assert admission.num_in_flight == 10
    for one in gone:
        one.cancel()
    assert all(isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(*gone, return_exceptions=True))
    assert (admission.num_in_flight, predictions._decoder._num_waiting) == (0, 0)
    assert len((await predictions.predict("shapes", [IMAGE], None)).predictions) == 1


@pytest.mark.parametrize("scores", [[1000.0, 0.0, -1000.0], [-1e30, 0.0, 1e30], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_probabilities_are_finite_whatever_the_scores(task: str, scores: list[float]) -> None:
    likely = compute_probabilities(task, np.array(scores, np.float32))
    assert np.isfinite(likely).all()
    assert (likely >= 0).all()
    assert (likely <= 1).all()
    if task == "classification":
        assert likely.sum() == pytest.approx(1)


@pytest.mark.parametrize("num_classes", [1, 2, SMALL_NUM_CLASSES, SMALL_NUM_CLASSES + 1, 1000])
@pytest.mark.parametrize("task", ["classification", "multilabel"])
def test_the_most_probable_classes_come_first_with_their_probabilities(task: str, num_classes: int) -> None:
    rng = np.random.default_rng(num_classes)
    for scale in (1, 1e3, 1e30):
        scores = (rng.integers(-3, 3, num_classes) * scale).astype(np.float32)  # with many equals
        likely = compute_probabilities(task, scores)
        found = select_top_classes(task, scores, 5)
        assert [index for index, _ in found] == sorted(range(num_classes), key=lambda index: -likely[index])[:5]
        assert [probability for _, probability in found] == pytest.approx([likely[index] for index, _ in found])


def test_a_binary_network_may_have_one_output_or_two() -> None:
    assert compute_probabilities("binary", np.array([0.0], np.float32)).tolist() == [0.5, 0.5]
    assert compute_probabilities("binary", np.array([0.0, 0.0], np.float32)).tolist() == [0.5, 0.5]
