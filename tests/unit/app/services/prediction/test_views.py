"""Test-time augmentation of predictions: the views of an image, and the means of their scores."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from app.services.prediction.version_cache import ServedModel, VersionCache
from app.services.prediction.views import WEIGHTS, average_outcomes, check_views, create_views
from app.serving.types import Outcome
from core.errors import InvalidSpec, PredictionFailed
from core.spec.job_kinds import Views
from models.averaged_views import AveragedViews

IMAGE = np.random.default_rng(3).integers(0, 256, (5, 4, 3), dtype=np.uint8)


class WeightedSum(nn.Module):
    """Maps images, (B, C, H, W), to two scores that depend on the position of every pixel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(2, 3 * 5 * 4, generator=torch.Generator().manual_seed(0)))

    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1) @ self.weight.T


def to_tensor(images: list[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


@pytest.mark.parametrize("views", ["mirror", "mirror_and_shift"])
def test_the_mean_scores_are_those_of_a_job(views: Views) -> None:
    network = WeightedSum()
    images = [IMAGE, 255 - IMAGE]
    with torch.inference_mode():
        expected = AveragedViews(network, "mirror" if views == "mirror" else "mirror_and_shift")(to_tensor(images))
        scores = network(to_tensor([view for image in images for view in create_views(image, views)])).numpy()
    means = np.stack([outcome for outcome in average_outcomes(list(scores), views) if isinstance(outcome, np.ndarray)])
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, expected.numpy(), rtol=1e-5)


@pytest.mark.parametrize("views", WEIGHTS)
def test_each_view_has_a_weight_and_the_shape_of_the_image(views: Views) -> None:
    created = create_views(IMAGE, views)
    assert len(created) == len(WEIGHTS[views])
    assert sum(WEIGHTS[views]) == 1
    assert {(view.shape, view.dtype) for view in created} == {(IMAGE.shape, IMAGE.dtype)}
    assert np.array_equal(created[0], IMAGE)


def test_the_error_of_a_view_is_the_error_of_its_image_only() -> None:
    error = PredictionFailed("The network returned NaN.")
    scores = [np.full(2, value, np.float32) for value in (1.0, 3.0)]
    outcomes: list[Outcome] = [scores[0], error, *scores]
    first, second = average_outcomes(outcomes, "mirror")
    assert first is error
    assert np.asarray(second).tolist() == [2.0, 2.0]


@pytest.fixture
async def model(version_cache: VersionCache) -> ServedModel:
    return await version_cache.get("shapes")


async def test_only_views_that_can_be_made_are_accepted(model: ServedModel) -> None:
    check_views(model, "mirror_and_shift")
    check_views(model._replace(image_shape=(0, 0, 0)), "none")
    check_views(model._replace(image_shape=(1, 1, 8)), "mirror")
    with pytest.raises(InvalidSpec, match="at least 2x2 pixels, the model takes 1x1x8"):
        check_views(model._replace(image_shape=(1, 1, 8)), "mirror_and_shift")
    with pytest.raises(InvalidSpec, match="must be 'none': the model reads rows or windows, not images; got 'mirror'"):
        check_views(model._replace(image_shape=(0, 0, 0)), "mirror")
