"""A model in an inference process: validation of samples and limits before they are sent."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from app.inference.protocol import LoadResult
from app.inference.types import BatcherClosed, BatchStats
from app.serving.backend import LoadOptions
from app.serving.remote_model import RemoteModel
from app.serving.types import BundleRef
from core.errors import Overloaded, PredictionFailed

IMAGE, OTHER_SHAPE = np.zeros((2, 2, 1), np.uint8), np.zeros((3, 2, 1), np.uint8)


class FakeClient:
    """Records predictions and returns the target or the index of each image."""

    is_lost = False

    def __init__(self) -> None:
        self.targets: list[Sequence[int] | None] = []
        self.sent: list[Any] = []

    def add_listener(self, model_id: int, listener: Any) -> None:
        """Do nothing."""

    def remove_listener(self, model_id: int) -> None:
        """Do nothing."""

    def send(self, message: Any) -> None:
        self.sent.append(message)

    async def predict(self, model_id: int, images: Sequence[Any], *arguments: Any) -> list[Any]:
        self.targets.append(arguments[-1])
        return list(arguments[-1] or range(len(images)))


@pytest.fixture
def failures() -> list[BatchStats]:
    return []


@pytest.fixture
def model(failures: list[BatchStats]) -> RemoteModel:
    result = LoadResult(1, 2, 100, (2, 2, 1), "uint8", [], "cpu")
    client: Any = FakeClient()
    listener: Any = lambda stats, waited_s: failures.append(stats)  # noqa: E731
    return RemoteModel(client, result, BundleRef("key", (), "m"), LoadOptions(4, 3), listener)


async def test_a_sample_of_another_shape_fails_alone_and_targets_stay_aligned(
    model: RemoteModel, failures: list[BatchStats]
) -> None:
    outcomes = await model.submit([IMAGE, OTHER_SHAPE, IMAGE], targets=[5, 6, 7])
    scores: list[Any] = list(outcomes)
    assert (scores[0], scores[2]) == (5, 7)
    assert isinstance(outcomes[1], PredictionFailed)
    assert [stats.num_failed for stats in failures] == [1]


async def test_more_samples_than_may_wait_are_overload(model: RemoteModel) -> None:
    with pytest.raises(Overloaded):
        await model.submit([IMAGE] * 4)
    assert await model.submit([IMAGE] * 3) == [0, 1, 2]
    assert model.num_waiting == 0


async def test_a_closed_model_accepts_no_request(model: RemoteModel) -> None:
    model.close()
    with pytest.raises(BatcherClosed):
        await model.submit([IMAGE])
    await model.join()
