"""Test-time augmentation of predictions: averages the scores of mirrored and shifted views of each image.

Source: `models.averaged_views`, which averages the same views with the same weights in a job.
"""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from app.services.prediction.version_cache import ServedModel
from app.serving.types import Outcome, Pixels
from core.errors import InvalidSpec, ServiceError
from core.spec.job_kinds import Views, find_views_error

WEIGHTS: dict[Views, tuple[float, ...]] = {
    "none": (1.0,),
    "mirror": (1 / 2, 1 / 2),
    "mirror_and_shift": (1 / 4, 1 / 4, 1 / 8, 1 / 8, 1 / 8, 1 / 8),
}
"""The weights of the views, in the order of `create_views`; they sum to 1."""


def check_views(model: ServedModel, views: Views) -> None:
    """Check that the views can be made of the model's inputs.

    Raises:
        InvalidSpec: the model does not read images, or its images are too small.
    """
    reads_images = model.table is None and 0 not in model.image_shape
    if reason := find_views_error(views, model.image_shape if reads_images else None):
        raise InvalidSpec(f"'test_time_augmentation' {reason}.")


def create_views(image: Pixels, views: Views) -> list[Pixels]:
    """Return the views of an image, uint8 (H, W, C), of the same shape: the image itself is the first."""
    if views == "none":
        return [image]
    in_place = [image, image[:, ::-1]]
    if views == "mirror":
        return in_place
    height, width = image.shape[:2]
    padded = np.pad(image, ((1, 1), (1, 1), (0, 0)), mode="reflect")
    shifted = (padded[:height, :width], padded[2:, 2:])
    return in_place + [view for moved in shifted for view in (moved, moved[:, ::-1])]


def average_outcomes(outcomes: Iterable[Outcome], views: Views) -> Iterator[Outcome]:
    """Return one outcome per image: the mean scores of its views, or the error of one of them."""
    iterator = iter(outcomes)
    weights = WEIGHTS[views]
    while group := [outcome for _, outcome in zip(weights, iterator, strict=False)]:
        yield _average(group, weights)


def _average(group: Sequence[Outcome], weights: Sequence[float]) -> Outcome:
    scores = []
    for outcome in group:
        if isinstance(outcome, ServiceError):
            return outcome
        scores.append(outcome)
    return np.average(np.stack(scores), axis=0, weights=weights).astype(np.float32)
