"""Predicts class probabilities or values of images, rows and windows with a registered model."""

import asyncio
import math
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from app.services.prediction.json_limits import compute_max_json_values
from app.services.prediction.timeouts import run_until_deadline
from app.services.prediction.version_cache import ServedModel, VersionCache
from app.services.prediction.views import WEIGHTS, average_outcomes, check_views, create_views
from app.serving import table_input as rows
from app.serving.decoding import Decoder, ImageInput
from app.serving.model_server import ModelServer
from app.serving.rollover import VersionRollover
from app.serving.table_input import TableRow
from app.serving.types import Outcome, Pixels, Scores
from core.errors import InvalidRow, ServiceError, TooLarge
from core.spec.job_kinds import Views

DEFAULT_TOP_K = 5
SMALL_NUM_CLASSES = 16
MAX_ROWS_ON_EVENT_LOOP = 100
"""Maximum number of rows that are parsed on the event loop. Larger requests are parsed in a thread."""


class ClassScore(NamedTuple):
    """A class, its index, and its probability."""

    label: str
    number: int
    probability: float


class Classification(NamedTuple):
    """The most probable classes in descending order."""

    candidates: list[ClassScore]


class Regression(NamedTuple):
    """The predicted values, one per output."""

    values: list[float]


Prediction = Classification | Regression | ServiceError


class PredictionResult(NamedTuple):
    """The version, and one prediction per instance in the order of the request."""

    name: str
    version: int
    variant: str | None
    predictions: list[Prediction]


class PredictionService:
    """Predicts with registered models. Database queries run in threads and do not block the event loop."""

    def __init__(
        self,
        version_cache: VersionCache,
        decoder: Decoder,
        model_server: ModelServer,
        rollover: VersionRollover | None = None,
    ) -> None:
        """Initialize the service. Services that share `rollover` share its memory of versions that failed to load."""
        self._version_cache = version_cache
        self._decoder = decoder
        self._model_server = model_server
        self._rollover = rollover or VersionRollover(model_server)

    async def get_max_json_values(self, ref: str, variant: str | None = None) -> int:
        """Return how many values and keys the JSON of a request may have. Raises NotFound."""
        return self.compute_max_json_values(await self._version_cache.get(ref, variant))

    def compute_max_json_values(self, model: ServedModel) -> int:
        """Return how many values and keys the JSON of a request for this version may have."""
        return compute_max_json_values(model, self._model_server.max_waiting)

    async def predict(
        self,
        ref: str,
        instances: Sequence[ImageInput | TableRow],
        top_k: int | None,
        variant: str | None = None,
        deadline: float | None = None,
        views: Views = "none",
    ) -> PredictionResult:
        """Predict instances with a model. If there are several instances, the result of a failed instance is an error.

        Args:
            ref: `name`, `name@3` or `name@alias`.
            instances: one or more instances.
            top_k: maximum number of classes to return; default: 5.
            variant: a variant format; see `VersionCache.get`.
            deadline: time of the monotonic clock; default: no deadline.
            views: the views of each image whose scores are averaged; default: the image only.

        Raises:
            NotFound: the model or variant does not exist.
            InvalidImage, UnsupportedImage, InvalidRow, PredictionFailed: the only instance of the request failed.
            InvalidSpec: the views cannot be made of the inputs of the model.
            TooLarge: the request has more instances than the queue can hold, or a single image is too large.
            Overloaded, NotReady: the server cannot take the request now.
            DeadlineExceeded: the deadline has passed, or is estimated to pass while the request waits.
        """
        self._check_count(len(instances), views)
        current = await self._version_cache.get(ref, variant)
        choice = self._rollover.choose_version(f"{ref} {variant}", current)
        model = await (choice if current.fallback is None else run_until_deadline(deadline, choice))
        predictions = await self.predict_version(model, instances, top_k, deadline, views)
        return PredictionResult(model.name, model.version, model.variant, predictions)

    async def predict_version(
        self,
        model: ServedModel,
        instances: Sequence[ImageInput | TableRow],
        top_k: int | None,
        deadline: float | None = None,
        views: Views = "none",
    ) -> list[Prediction]:
        """Predict with a version that was already looked up. Raises the same errors as `predict`."""
        self._check_count(len(instances), views)
        check_views(model, views)
        with self._model_server.admit(model.bundle, len(instances) * len(WEIGHTS[views]), deadline):
            decoded, outcomes = await run_until_deadline(
                deadline, self._compute_outcomes(model, instances, deadline, views)
            )
        results = [item if isinstance(item, ServiceError) else next(outcomes) for item in decoded]
        if len(results) == 1 and isinstance(results[0], ServiceError):
            raise results[0]
        k = top_k or DEFAULT_TOP_K
        return [_to_prediction(model, result, k) for result in results]

    async def _compute_outcomes(
        self, model: ServedModel, instances: Sequence[ImageInput | TableRow], deadline: float | None, views: Views
    ) -> tuple[list[Pixels | ServiceError], Iterator[Outcome]]:
        """Return an input or an error per instance, and one outcome per successfully decoded instance."""
        started_at = time.monotonic()
        decoded = await self._decode_instances(model, instances, len(WEIGHTS[views]))
        self._model_server.record_decode_time(model.bundle, time.monotonic() - started_at)
        images = [image for image in decoded if not isinstance(image, ServiceError)]
        if views != "none":
            images = [view for image in images for view in create_views(image, views)]
        outcomes = await self._model_server.predict(model.bundle, images, deadline) if images else []
        return decoded, iter(outcomes) if views == "none" else average_outcomes(outcomes, views)

    async def _decode_instances(
        self, model: ServedModel, instances: Sequence[ImageInput | TableRow], num_views: int
    ) -> list[Pixels | ServiceError]:
        if model.table is not None:
            is_long = len(instances) > MAX_ROWS_ON_EVENT_LOOP
            return (
                await asyncio.to_thread(rows.encode_rows, instances, model.table)
                if is_long
                else rows.encode_rows(instances, model.table)
            )
        images = [instance for instance in instances if not isinstance(instance, TableRow)]
        if len(images) < len(instances):
            raise InvalidRow(f"{model.name} reads images; the request has rows of a table.")
        return await self._decoder.decode(images, model.image_shape, model.resize, num_views=num_views)

    def _check_count(self, count: int, views: Views) -> None:
        most = self._model_server.max_waiting // len(WEIGHTS[views])
        if count > most:
            raise TooLarge(f"The request has {count} images; at most {most} are allowed.", max_images=most)


def _to_prediction(model: ServedModel, outcome: Scores | ServiceError, top_k: int) -> Prediction:
    if isinstance(outcome, ServiceError):
        return outcome
    if model.task == "regression":
        return Regression(outcome.tolist())
    best = select_top_classes(model.task, outcome, top_k)
    return Classification([ClassScore(_get_label(model, index), index, probability) for index, probability in best])


def select_top_classes(task: str, scores: Scores, k: int) -> list[tuple[int, float]]:
    """Return the indices and probabilities of the `k` most probable classes. Ties are sorted by index.

    Classifications with few classes use Python floats, which need a third less time than numpy.
    """
    if task == "classification" and len(scores) <= SMALL_NUM_CLASSES:
        exponentials = [math.exp(score) for score in (scores - np.maximum.reduce(scores)).tolist()]
        total = sum(exponentials)
        best = sorted(range(len(exponentials)), key=exponentials.__getitem__, reverse=True)[:k]
        return [(index, exponentials[index] / total) for index in best]
    probabilities = compute_probabilities(task, scores)
    order = (-probabilities).argsort(kind="stable")[:k]
    return list(zip(order.tolist(), probabilities[order].tolist(), strict=True))


def compute_probabilities(task: str, scores: Scores) -> Scores:
    """Return the probabilities of the classes; they sum to 1, except in a multilabel task."""
    if task == "classification":
        exponentials = np.exp(scores - np.maximum.reduce(scores))  # np.maximum.reduce is faster than scores.max()
        return np.asarray(exponentials / np.add.reduce(exponentials))
    with np.errstate(over="ignore"):  # an overflow is correct: 1 / (1 + inf) is 0
        probabilities = 1 / (1 + np.exp(-scores))
    if task == "binary" and len(probabilities) == 1:  # one output: the probability of the second class
        return np.concatenate([1 - probabilities, probabilities])
    return np.asarray(probabilities)


def _get_label(model: ServedModel, index: int) -> str:
    return model.classes[index] if index < len(model.classes) else str(index)
